//! Batches by reference: the real `bootstrap` with a Runtime API and a bucket, both in this process.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failure here is a failed test")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Reply, Sandbox, Start, identity_folder, tensor, value_of};
use workers_protocol::{Answer, ChunkReceipt, ChunkReference, Datatype};

/// Objects by path, and how often each was written.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Vec<u8>>,
    puts: usize,
}

/// The part of S3's protocol that the worker needs: HEAD, GET, PUT. Checks no signature.
fn bucket() -> (SocketAddr, Arc<Mutex<Bucket>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let kept = Arc::clone(&bucket);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bucket = Arc::clone(&kept);
            std::thread::spawn(move || while answer(&stream, &bucket).is_some() {});
        }
    });
    (address, bucket)
}

fn answer(stream: &TcpStream, bucket: &Mutex<Bucket>) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if first.is_empty() {
            first = line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (method, rest) = first.split_once(' ')?;
    let path = rest.split(' ').next()?;
    let mut bucket = bucket.lock().unwrap();
    let (status, found) = match method {
        "put" => {
            bucket.puts += 1;
            bucket.objects.insert(path.to_owned(), body);
            (200, Vec::new())
        }
        _ => bucket.objects.get(path).map_or((404, Vec::new()), |found| (200, found.clone())),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\netag: \"e\"\r\nlast-modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n\r\n",
        found.len()
    );
    let mut writer = stream;
    writer.write_all(head.as_bytes()).ok()?;
    if method != "head" {
        writer.write_all(&found).ok()?;
    }
    Some(())
}

fn sandbox(folder: &std::path::Path, address: SocketAddr) -> Sandbox {
    let env = HashMap::from([
        ("PENSTOCK_CHUNKS", "s3://work/jobs".to_owned()),
        ("AWS_ENDPOINT_URL_S3", format!("http://{address}")),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]);
    Start { env, ..Start::new(folder, "identity") }.sandbox()
}

fn reference(name: &str) -> ChunkReference {
    let place = |kind: &str| format!("s3://work/jobs/j/{kind}/{name}.json");
    ChunkReference { request: place("requests"), answer: place("answers") }
}

fn receipt(reply: Reply) -> ChunkReceipt {
    match reply {
        Reply::Response(body) => ChunkReceipt::decode(&body).unwrap(),
        other => panic!("no receipt but {other:?}"),
    }
}

#[test]
fn a_chunk_by_reference_is_answered_where_it_was_asked_and_not_twice() {
    let folder = identity_folder("UINT8", "[16]");
    let (address, bucket) = bucket();
    let mut sandbox = sandbox(folder.path(), address);
    let ids: Vec<u64> = (0..20).collect();
    let data: Vec<Vec<u8>> = ids.iter().map(|&id| vec![u8::try_from(id).unwrap(); 16]).collect();
    let header = sandbox.header(2);
    let request = header.encode(&ids, &[tensor("x", Datatype::Uint8, &[16], &data)]);
    bucket.lock().unwrap().objects.insert("/work/jobs/j/requests/0-20.json".to_owned(), request);

    let time = Duration::from_secs(20);
    let first = receipt(sandbox.invoke(reference("0-20").encode(), time));
    assert_eq!((first.batch, first.items, first.errors, first.was_there), (header.batch, 20, 0, false));
    assert!(first.report.cold && first.report.handler_us > 0);
    let written = bucket.lock().unwrap().objects["/work/jobs/j/answers/0-20.json"].clone();
    let answer = Answer::decode(&written).unwrap();
    answer.check_answers(header.batch, &ids).unwrap();
    for (id, expected) in ids.iter().zip(&data) {
        assert_eq!(value_of(&answer, *id).as_ref(), Some(expected));
    }

    let second = receipt(sandbox.invoke(reference("0-20").encode(), time));
    assert!(second.was_there && second.report.processes.is_empty(), "nothing was run: {second:?}");
    assert_eq!(bucket.lock().unwrap().puts, 1);
    // Batches that travel in the payload are answered as ever, by the same sandbox.
    let header = sandbox.header(1);
    sandbox.answer(&header, &ids, &[tensor("x", Datatype::Uint8, &[16], &data)]);
}

#[test]
fn what_cannot_be_read_is_a_function_error_with_a_type() {
    let folder = identity_folder("UINT8", "[16]");
    let (address, bucket) = bucket();
    let mut sandbox = sandbox(folder.path(), address);
    bucket.lock().unwrap().objects.insert("/work/jobs/j/requests/bad.json".to_owned(), b"{\"v\":1}".to_vec());
    let outside = ChunkReference { request: "s3://other/jobs/x".to_owned(), ..reference("bad") };
    let cases = [
        (reference("none"), "ChunkMissing"),
        (reference("bad"), "InvalidRequest"),
        (outside, "ChunkRefused"),
    ];
    for (reference, expected) in cases {
        match sandbox.invoke(reference.encode(), Duration::from_secs(20)) {
            Reply::Error(_, body) => assert!(body.contains(expected), "{body}"),
            other => panic!("no function error but {other:?}"),
        }
    }
    assert_eq!(bucket.lock().unwrap().puts, 0);
}
