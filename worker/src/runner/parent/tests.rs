//! Runner processes that exit in each way, imitated by shell scripts.

#![cfg(unix)]

use super::*;

fn equipment() -> Equipment {
    let device = v1::Device { name: "cpu".into(), slots: 1, ..v1::Device::default() };
    Equipment { device, execution: plusminus_engines::ExecutionOptions::default(), uuid: None }
}

/// The events of a shell script that runs as a runner.
async fn events_of(script: &str) -> Vec<RunnerEvent> {
    let options = RunnerOptions { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
    let (events, mut inbox) = mpsc::channel(8);
    let runner = Runner::start(&options, &equipment(), (3, 5), Arc::default(), events).unwrap();
    let mut received = Vec::new();
    while let Some(Event::Runner { runner: 3, generation: 5, event }) = inbox.recv().await {
        received.push(event);
    }
    drop(runner);
    received
}

async fn exit_of(script: &str) -> (RunnerExit, String) {
    match events_of(script).await.pop() {
        Some(RunnerEvent::Exited(exit, log)) => (exit, log),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_signal_and_exit_code_is_named() {
    let crashed = |how: &str| RunnerExit::Crashed(how.into());
    let cases = [
        ("exit 0", RunnerExit::Clean),
        ("exit 3", crashed("exited with code 3")),
        ("exit 75", RunnerExit::DeviceFailed),
        ("exit 71", RunnerExit::HostFailed),
        ("kill -SYS $$", crashed("was killed by SIGSYS")),
        ("kill -64 $$", crashed("was killed by signal 64")),
        ("kill -KILL $$", RunnerExit::Killed),
        ("kill -SEGV $$", crashed("was killed by SIGSEGV")),
        ("kill -ABRT $$", crashed("was killed by SIGABRT")),
    ];
    for (script, exit) in cases {
        assert_eq!(exit_of(script).await.0, exit, "{script}");
    }
}

#[test]
fn a_sigkill_counts_as_out_of_memory_only_if_the_system_says_so() {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(describe(ExitStatus::from_raw(9), || true), RunnerExit::OutOfMemory);
    assert_eq!(describe(ExitStatus::from_raw(9), || false), RunnerExit::Killed);
    assert_eq!(describe(ExitStatus::from_raw(11), || true), RunnerExit::Crashed("was killed by SIGSEGV".into()));
}

#[tokio::test]
async fn the_end_of_the_log_is_kept_and_long_lines_are_cut() {
    let (_, log) = exit_of("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i >&2; done; printf last >&2").await;
    assert_eq!(log.lines().count(), LOG_LINES);
    assert!(log.starts_with("line 4\n") && log.ends_with("line 12\nlast"), "{log}");
    let (_, log) = exit_of("head -c 100000 /dev/zero | tr '\\0' x >&2").await;
    assert_eq!(log.len(), LOG_LINE);
    let lines = "for i in 1 2 3 4 5 6 7 8 9; do head -c 900 /dev/zero | tr '\\0' $i; echo; done >&2; kill -SEGV $$";
    let (exit, log) = exit_of(lines).await;
    assert_eq!(exit, RunnerExit::Crashed("was killed by SIGSEGV".into()));
    assert!(log.len() == LOG && log.ends_with("999") && !log.contains('1'), "the end is kept: {log}");
}

#[tokio::test]
async fn a_missing_program_is_an_error() {
    let options = RunnerOptions { program: "/absent/runner".into(), arguments: Vec::new() };
    let started = Runner::start(&options, &equipment(), (0, 1), Arc::default(), mpsc::channel(8).0);
    assert_eq!(started.map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn malformed_output_ends_the_runner() {
    let (exit, _) = exit_of("echo nonsense that is far too long; exec sleep 1000").await;
    assert_eq!(exit, RunnerExit::Crashed("closed its output and did not exit".into()));
}

#[tokio::test]
async fn a_runner_receives_only_the_latest_lease() {
    let options = RunnerOptions {
        program: "/bin/sh".into(),
        // Logs the number of bytes that it receives.
        arguments: vec!["-c".into(), "head -c 6 | wc -c >&2".into()],
    };
    let (events, mut inbox) = mpsc::channel(8);
    let runner = Runner::start(&options, &equipment(), (0, 1), Arc::default(), events).unwrap();
    for until in 1..=100_000 {
        runner.send(0, to_runner::Message::Lease(v1::Lease { until }));
    }
    let Some(Event::Runner { event: RunnerEvent::Exited(exit, log), .. }) = inbox.recv().await else { panic!() };
    assert_eq!((exit, log.trim()), (RunnerExit::Clean, "6"));
}

#[tokio::test]
async fn a_runner_can_be_killed() {
    let options = RunnerOptions { program: "/bin/sh".into(), arguments: vec!["-c".into(), "exec sleep 1000".into()] };
    let (events, mut inbox) = mpsc::channel(8);
    let mut runner = Runner::start(&options, &equipment(), (0, 1), Arc::default(), events).unwrap();
    runner.kill();
    let Some(Event::Runner { event: RunnerEvent::Exited(exit, _), .. }) = inbox.recv().await else { panic!() };
    assert_eq!(exit, RunnerExit::Killed);
}
