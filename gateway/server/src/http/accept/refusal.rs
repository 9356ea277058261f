//! The short answer to a connection beyond `max_connections`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Refusals in progress; beyond them connections are closed without a word.
pub(super) const MAX_AT_ONCE: usize = 64;

const PATIENCE: Duration = Duration::from_secs(1);

const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
content-type: application/json\r\n\
retry-after: 1\r\n\
connection: close\r\n\
content-length: 67\r\n\r\n\
{\"error\":\"too many open connections\",\"code\":\"too_many_connections\"}";

/// Sends the answer, then reads a little: closing with unread bytes would reset the connection and lose the answer.
pub(super) async fn send(mut stream: TcpStream) {
    let exchange = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        let mut sink = [0_u8; 4096];
        for _ in 0..16 {
            if stream.read(&mut sink).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    // Whether it arrived is of no consequence: the connection is closed either way.
    let _ = tokio::time::timeout(PATIENCE, exchange).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_length_is_the_bodys() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
