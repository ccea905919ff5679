//! Runners that end in each way, as the shell can imitate them.

#![cfg(unix)]

use super::*;

fn equipment() -> Equipment {
    let device = v1::Device { name: "cpu".into(), slots: 1, ..v1::Device::default() };
    Equipment { device, means: plusminus_engines::ExecutionOptions::default(), uuid: None }
}

/// What is heard of a program of the shell's.
async fn heard_of(script: &str) -> Vec<RunnerEvent> {
    let options = RunnerOptions { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
    let (events, mut inbox) = mpsc::channel(8);
    let runner = Runner::start(&options, &equipment(), (3, 5), events).unwrap();
    let mut heard = Vec::new();
    while let Some(Event::Runner { runner: 3, generation: 5, said }) = inbox.recv().await {
        heard.push(said);
    }
    drop(runner);
    heard
}

async fn end_of(script: &str) -> (RunnerExit, String) {
    match heard_of(script).await.pop() {
        Some(RunnerEvent::Exited(how, log)) => (how, log),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn signals_and_exit_codes_are_told_apart_by_name() {
    let crashed = |how: &str| RunnerExit::Crashed(how.into());
    let cases = [
        ("exit 0", RunnerExit::Left),
        ("exit 3", crashed("ended with exit code 3")),
        ("exit 75", RunnerExit::Unwell),
        ("kill -KILL $$", RunnerExit::Killed),
        ("kill -SEGV $$", crashed("was killed by SIGSEGV")),
        ("kill -ABRT $$", crashed("was killed by SIGABRT")),
    ];
    for (script, how) in cases {
        assert_eq!(end_of(script).await.0, how, "{script}");
    }
}

#[test]
fn a_sigkill_counts_as_memory_that_ran_out_only_where_the_system_says_so() {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(describe(ExitStatus::from_raw(9), || true), RunnerExit::OutOfMemory);
    assert_eq!(describe(ExitStatus::from_raw(9), || false), RunnerExit::Killed);
    assert_eq!(describe(ExitStatus::from_raw(11), || true), RunnerExit::Crashed("was killed by SIGSEGV".into()));
}

#[tokio::test]
async fn the_end_of_the_log_is_kept_and_a_line_without_end_is_cut() {
    let (_, log) = end_of("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i >&2; done; printf last >&2").await;
    assert_eq!(log.lines().count(), LOG_LINES);
    assert!(log.starts_with("line 4\n") && log.ends_with("line 12\nlast"), "{log}");
    let (_, log) = end_of("head -c 100000 /dev/zero | tr '\\0' x >&2").await;
    assert_eq!(log.len(), LOG_LINE);
}

#[tokio::test]
async fn what_is_no_message_ends_the_runner() {
    let (how, _) = end_of("echo nonsense that is far too long; exec sleep 1000").await;
    assert_eq!(how, RunnerExit::Crashed("closed its output and went on".into()));
}

#[tokio::test]
async fn a_runner_is_told_what_it_is_to_hear_and_the_latest_lease() {
    let options = RunnerOptions {
        program: "/bin/sh".into(),
        // Says in its log how many bytes it was told.
        arguments: vec!["-c".into(), "head -c 6 | wc -c >&2".into()],
    };
    let (events, mut inbox) = mpsc::channel(8);
    let runner = Runner::start(&options, &equipment(), (0, 1), events).unwrap();
    for until in 1..=100_000 {
        runner.tell(0, to_runner::Message::Lease(v1::Lease { until }));
    }
    let Some(Event::Runner { said: RunnerEvent::Exited(how, log), .. }) = inbox.recv().await else { panic!() };
    assert_eq!((how, log.trim()), (RunnerExit::Left, "6"));
}

#[tokio::test]
async fn a_runner_can_be_killed() {
    let options = RunnerOptions { program: "/bin/sh".into(), arguments: vec!["-c".into(), "exec sleep 1000".into()] };
    let (events, mut inbox) = mpsc::channel(8);
    let mut runner = Runner::start(&options, &equipment(), (0, 1), events).unwrap();
    runner.kill();
    let Some(Event::Runner { said: RunnerEvent::Exited(how, _), .. }) = inbox.recv().await else { panic!() };
    assert_eq!(how, RunnerExit::Killed);
}
