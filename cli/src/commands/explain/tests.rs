//! The explanation of jobs in each state.

use super::*;

fn job(status: v1::JobStatus) -> v1::ExplainResponse {
    let configuration = r#"{"dataset":"fashion-mnist-10k","model":{"name":"cnn"},"loss":{"name":"gce","q":0.7},"noise":{"kind":"uniform","rate":0.4},"noise_seed":null,"optimizer":{"name":"adam","lr":0.001},"epochs":10,"batch_size":64}"#;
    v1::ExplainResponse {
        job: "3f2a9c0d11223344556677889900aabb".to_owned(),
        cell: "00000000000000000000000000000001".to_owned(),
        seed: 2,
        configuration: configuration.to_owned(),
        sweeps: vec![
            v1::WantedBy { sweep: "small".to_owned(), cancelled: false },
            v1::WantedBy { sweep: "large".to_owned(), cancelled: true },
        ],
        status: status.into(),
        failures: 1,
        failures_allowed: 3,
        ..v1::ExplainResponse::default()
    }
}

fn lost_attempt() -> v1::AttemptRow {
    v1::AttemptRow {
        attempt: 1,
        worker: "w-1".to_owned(),
        started: 1_795_298_769_000,
        ended: Some(1_795_298_769_000 + 754_321),
        epochs: 3,
        ending: "infrastructure".to_owned(),
        message: "the runner was ended by signal 11; the end of its log:\nstep 40\nstep 41".to_owned(),
    }
}

fn waiting(why: Why) -> v1::ExplainResponse {
    v1::ExplainResponse { waiting: Some(v1::Waiting { why: Some(why) }), ..job(v1::JobStatus::Queued) }
}

#[test]
fn a_running_job_shows_worker_progress_and_earlier_attempts() {
    let now = v1::AttemptRow {
        attempt: 2,
        started: 1_795_299_600_000,
        ended: None,
        epochs: 2,
        worker: "another".into(),
        ..Default::default()
    };
    let running = v1::RunningJob {
        worker: "another".to_owned(),
        progress: Some(v1::Progress { epoch: 3, epochs: 10, step: 1, steps: 2 }),
        running_milliseconds: 65_000,
        ..v1::RunningJob::default()
    };
    let explained = v1::ExplainResponse {
        running: Some(running),
        lease_milliseconds: 14_200,
        attempts: vec![lost_attempt(), now],
        ..job(v1::JobStatus::Running)
    };
    insta::assert_snapshot!(describe(&explained, true));
    insta::assert_snapshot!(describe(&explained, false));
    insta::assert_snapshot!(format!("{:#}", to_json(&explained, true)));
}

#[test]
fn a_queued_job_shows_what_it_waits_for() {
    let parent = v1::ParentJob { job: "1".repeat(32), status: v1::JobStatus::Running.into() };
    let turn = |workers, slots, busy| Why::Turn(v1::Turn { before: 17, workers, slots, busy, resting: 0 });
    let reasons = [
        Why::Parent(parent),
        Why::RetryMilliseconds(12_000),
        Why::Only("other".to_owned()),
        turn(0, 0, 0),
        turn(2, 8, 8),
        turn(1, 8, 5),
        turn(1, 0, 0),
    ];
    let mut texts: Vec<String> = reasons.into_iter().map(|why| describe_state(&waiting(why), true)).collect();
    texts.push(describe_state(&waiting(turn(0, 0, 0)), false));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn an_ended_job_shows_how_it_ended() {
    let failed = |kind: v1::FailureKind, message: &str| {
        let failure = v1::Failure { kind: kind.into(), message: message.to_owned() };
        v1::ExplainResponse { failure: Some(failure), ..job(v1::JobStatus::Failed) }
    };
    let again = v1::ExplainResponse { has_result: true, ..waiting(Why::RetryMilliseconds(900)) };
    let texts = [
        describe_state(&job(v1::JobStatus::Finished), true),
        describe_state(&job(v1::JobStatus::Dropped), true),
        describe_state(&failed(v1::FailureKind::Diverged, "the loss is NaN in epoch 3"), true),
        describe_state(&failed(v1::FailureKind::UserError, "no data set mnist\ngive --datasets"), true),
        describe_state(&again, true),
    ];
    insta::assert_snapshot!(texts.join("\n"));
    insta::assert_snapshot!(describe(&failed(v1::FailureKind::UserError, "no data set mnist\ngive --datasets"), true));
}

#[test]
fn durations_and_times_are_formatted_for_people() {
    assert_eq!(
        [999, 59_999, 61_000, 3_720_000, 180_000_000].map(format_duration),
        ["0.9 s", "59.9 s", "1 min 1 s", "1 h 2 min", "2 d 2 h"]
    );
    assert_eq!(format_time(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(format_time(951_782_400_000), "2000-02-29 00:00:00 UTC");
    assert_eq!(format_time(1_795_298_769_999), "2026-11-21 22:06:09 UTC");
    assert_eq!(format_time(4_107_542_399_000), "2100-02-28 23:59:59 UTC");
}
