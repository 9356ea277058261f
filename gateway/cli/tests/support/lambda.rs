//! A Lambda for tests of the gateway's process, where the worker does not matter: it speaks the worker's protocol over plain HTTP.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use workers_protocol::{Answer, Datatype, ItemShapes, Report, Request, TensorChunks};

/// A Lambda that gives numbers back after a while.
pub(crate) fn lambda(takes: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, takes));
        }
    });
    address
}

fn serve(stream: TcpStream, takes: Duration) -> Option<()> {
    // Head and body are two writes: the second would wait for the peer's delayed acknowledgement, 40 ms.
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (_, body) = read_message(&mut reader)?;
        let payload = Request::decode(&body).ok().map(|request| {
            std::thread::sleep(takes);
            let outputs: Vec<TensorChunks<'_>> = request
                .inputs
                .iter()
                .map(|input| TensorChunks {
                    name: "y",
                    datatype: Datatype::Fp32,
                    item_shapes: ItemShapes::Same(vec![1]),
                    chunks: vec![&input.data],
                })
                .collect();
            Answer::encode(request.header.batch, &request.ids, &outputs, &[], &Report::default())
        });
        let (status, payload) = payload.map_or((404, b"{}".to_vec()), |payload| (200, payload));
        write!(writer, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", payload.len()).ok()?;
        writer.write_all(&payload).ok()?;
    }
}

/// First line and body of a message with a content length.
pub(crate) fn read_message(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    let mut length = 0;
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
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}
