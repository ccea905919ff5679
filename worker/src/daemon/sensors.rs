//! Periodic readings of GPU sensors.

use crate::agent::Event;
use plusminus_cuda::{Monitor, Reading};
use plusminus_proto::v1;
use std::time::Duration;
use tokio::sync::mpsc;

/// The time between two readings.
const INTERVAL: Duration = Duration::from_secs(5);

/// A GPU's device name and its NVML identifier.
pub(super) type Sensor = (String, String);

/// Sends readings of the GPUs until the daemon ends. Returns at once if there is no GPU or no NVML.
pub(super) async fn read_sensors(sensors: Vec<Sensor>, events: mpsc::Sender<Event>) {
    if sensors.is_empty() {
        return;
    }
    // The driver may take long to answer, so its calls run on another thread.
    let mut monitor = tokio::task::spawn_blocking(Monitor::open).await.ok().flatten();
    while let Some(current) = monitor.take() {
        let sensors = sensors.clone();
        let read = move || {
            let reading = |uuid: &str| {
                let Reading { memory_used, load, temperature, .. } = current.read(uuid)?;
                Some(v1::Reading { memory_used, load, temperature })
            };
            let readings = sensors.into_iter().filter_map(|(name, uuid)| Some((name, reading(&uuid)?))).collect();
            (current, readings)
        };
        let Ok((current, readings)) = tokio::task::spawn_blocking(read).await else { return };
        if events.send(Event::SensorsRead(readings)).await.is_err() {
            return;
        }
        monitor = Some(current);
        tokio::time::sleep(INTERVAL).await;
    }
}
