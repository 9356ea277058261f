//! A sweep against a scripted Lambda: what is called, what is written down, and what is given up.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use workers_profiler::{Connection, Inputs, Lambda, Record, Summary, SweepError, SweepSettings, sweep};
use workers_protocol::{Answer, ProcessReport, Report, Request};

const MANIFEST: &str = "name = 'tiny'\nversion = '1'\nengine = 'identity'\n\
    [[inputs]]\nname = 'text'\ndatatype = 'BYTES'\nshape = [1]\n\
    [[outputs]]\nname = 'text'\ndatatype = 'BYTES'\nshape = [1]\n";

/// What the endpoint was asked: the alias, processes and items of each call.
type Calls = Arc<Mutex<Vec<(String, u32, u32)>>>;

/// Serves until the test process ends: one connection after the other.
fn scripted() -> (String, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Calls::default();
    let seen = calls.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = seen.clone();
            thread::spawn(move || serve(stream.unwrap(), &seen));
        }
    });
    (url, calls)
}

fn serve(stream: TcpStream, seen: &Calls) {
    let mut reader = BufReader::new(stream);
    while let Some((head, body)) = read_request(&mut reader) {
        let alias = head.split("Qualifier=").nth(1).unwrap().split([' ', '&']).next().unwrap().to_owned();
        let request = Request::decode(&body).unwrap();
        let items = u32::try_from(request.ids.len()).unwrap();
        let (headers, payload) = {
            let mut seen = seen.lock().unwrap();
            let is_cold = !seen.iter().any(|(known, ..)| *known == alias);
            seen.push((alias.clone(), request.header.process_count, items));
            answer(&alias, &request, items, is_cold)
        };
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", payload.len());
        reader.get_mut().write_all(&[response.as_bytes(), &payload].concat()).unwrap();
    }
}

/// `mem-512` always fails. A batch takes 10 ms and 1 ms an item.
fn answer(alias: &str, request: &Request, items: u32, is_cold: bool) -> (String, Vec<u8>) {
    if alias == "mem-512" {
        return (
            "x-amz-function-error: Unhandled\r\n".to_owned(),
            b"{\"errorType\":\"Runtime.OutOfMemory\"}".to_vec(),
        );
    }
    let handler_us = 10_000 + 1_000 * u64::from(items);
    let init = if is_cold { "\tInit Duration: 250.5 ms" } else { "" };
    let report = format!(
        "REPORT RequestId: 1\tDuration: 11 ms\tBilled Duration: {} ms\tMemory Size: 1024 MB\tMax Memory Used: 90 MB{init}\t\n",
        handler_us / 1000 + 1
    );
    let tail = base64_simd::STANDARD.encode_to_string(report);
    let process = |padded_units| ProcessReport { padded_units, ..ProcessReport::default() };
    let inside = Report {
        cold: is_cold,
        init_us: 1,
        handler_us,
        processes: vec![process(3), process(16 * u64::from(items))],
        ..Report::default()
    };
    let payload = Answer::encode(request.header.batch, &request.ids, &[], &[], &inside);
    (format!("x-amz-log-result: {tail}\r\n"), payload)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn settings(memory_mib: &[u32]) -> SweepSettings {
    SweepSettings {
        function: "penstock-tiny".to_owned(),
        memory_mib: memory_mib.to_vec(),
        process_counts: vec![1, 2],
        items: vec![1, 4],
        invocations: 6,
        stop_width: 0.0,
        pause: Duration::ZERO,
        seed: 1,
    }
}

fn run(url: &str, settings: &SweepSettings) -> (Vec<Record>, Result<Summary, SweepError>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let mut inputs = Inputs::from_manifest(&folder.path().join("model.toml"), 16, 1).unwrap();
    let connection = Connection {
        endpoint_url: Some(url.to_owned()),
        has_test_credentials: true,
        ..Connection::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut records = Vec::new();
    let summary = runtime.block_on(async {
        let lambda = Lambda::new(&connection).await;
        let write = |record: &Record| {
            records.push(record.clone());
            Ok(())
        };
        sweep(&lambda, &mut inputs, settings, write, |_| {}).await
    });
    (records, summary)
}

#[test]
fn every_visit_warms_the_point_and_then_measures() {
    let (url, calls) = scripted();
    let (records, summary) = run(&url, &settings(&[1024, 2048]));
    let summary = summary.unwrap();
    assert_eq!((summary.measured, summary.cold, summary.given_up.len()), (2 * 2 * 2 * 6, 2, 0));
    assert_eq!(
        calls.lock().unwrap().len(),
        2 * 2 * 2 * (6 + 2),
        "visits of five and of one, each with its warm-up"
    );
    let cold: Vec<&Record> = records.iter().filter(|record| record.cold).collect();
    assert_eq!(cold.len(), 2);
    assert!(
        cold.iter().all(|record| record.init_us == Some(250_500)),
        "INIT as billed, not as the worker saw it"
    );
    for record in records.iter().filter(|record| !record.cold) {
        assert_eq!(record.handler_us, 10_000 + 1_000 * u64::from(record.items));
        assert_eq!(record.billed_ms, 11 + u64::from(record.items));
        assert_eq!(record.shard_padded_units, 16 * u64::from(record.items), "the largest shard's");
        assert_eq!((record.init_us, record.max_memory_used_mib), (None, 90));
    }
}

#[test]
fn a_quiet_point_ends_early() {
    let (url, _) = scripted();
    let (records, _) = run(&url, &SweepSettings { stop_width: 0.02, ..settings(&[1024]) });
    let warm = records.iter().filter(|record| !record.cold).count();
    assert_eq!(warm, 2 * 2 * 5, "equal times end a point at the fewest invocations");
}

#[test]
fn every_invocation_waits_for_a_fresh_quota() {
    let (url, calls) = scripted();
    let begin = Instant::now();
    run(&url, &SweepSettings { pause: Duration::from_millis(20), items: vec![1], ..settings(&[1024]) })
        .1
        .unwrap();
    let calls = u32::try_from(calls.lock().unwrap().len()).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(20) * calls, "{calls} calls");
}

#[test]
fn points_that_fail_are_named_and_the_others_measured() {
    let (url, calls) = scripted();
    let (records, summary) = run(&url, &settings(&[512, 1024]));
    let summary = summary.unwrap();
    assert_eq!(summary.given_up.len(), 4);
    assert!(summary.given_up[0].reason.contains("OutOfMemory"), "{:?}", summary.given_up[0]);
    assert!(records.iter().all(|record| record.memory_mib == 1024));
    let tried = calls.lock().unwrap().iter().filter(|(alias, ..)| alias == "mem-512").count();
    assert_eq!(tried, 2 * 2 * 2, "two tries a point");
}

#[test]
fn a_sweep_without_any_measurement_is_an_error() {
    let (url, _) = scripted();
    let (_, summary) = run(&url, &settings(&[512]));
    assert!(matches!(summary, Err(SweepError::Nothing(reason)) if reason.contains("OutOfMemory")));
    let (_, refused) = run("http://127.0.0.1:1", &settings(&[1024]));
    assert!(refused.unwrap_err().to_string().contains("refused"));
}
