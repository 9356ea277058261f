//! The part of S3's protocol that leases need: GET, and PUT with `If-Match` and `If-None-Match`. Checks no signature.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Objects by path, each with the number of its version.
#[derive(Default)]
pub(crate) struct Bucket {
    objects: HashMap<String, (u64, Vec<u8>)>,
    versions: u64,
}

/// Starts one on a port of its own.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bucket = Arc::clone(&bucket);
            std::thread::spawn(move || while answer(&stream, &bucket).is_some() {});
        }
    });
    address
}

fn answer(stream: &TcpStream, bucket: &Mutex<Bucket>) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let (mut first, mut headers) = (String::new(), HashMap::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            line.clone_into(&mut first);
        } else if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?.to_owned());
    let mut bucket = bucket.lock().unwrap();
    let found = bucket.objects.get(&path).cloned();
    let tag = |version: u64| format!("\"v{version}\"");
    let (status, e_tag, answer) = if method == "PUT" {
        let holds = headers.get("if-none-match").is_none_or(|_| found.is_none())
            && headers
                .get("if-match")
                .is_none_or(|wanted| found.as_ref().is_some_and(|(version, _)| tag(*version) == *wanted));
        if holds {
            bucket.versions += 1;
            let version = bucket.versions;
            bucket.objects.insert(path, (version, body));
            (200, tag(version), Vec::new())
        } else {
            (412, String::new(), b"<Error><Code>PreconditionFailed</Code></Error>".to_vec())
        }
    } else {
        found.map_or((404, String::new(), Vec::new()), |(version, bytes)| (200, tag(version), bytes))
    };
    let length = answer.len();
    let mut writer = stream;
    write!(
        writer,
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\netag: {e_tag}\r\nlast-modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n\r\n"
    )
    .ok()?;
    writer.write_all(&answer).ok()
}
