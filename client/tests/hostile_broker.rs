//! SE-15: brokers that lie, cut and stall. The client says what is wrong, soon, and holds no more than what arrived.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pyralog_client::{CallError, ClientConfig, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers the first request of every connection with these bytes, then stays silent or closes.
async fn against(answer: Vec<u8>, then_close: bool) -> CallError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            while !then_close && stream.read(&mut request).await.is_ok_and(|n| n > 0) {}
        }
    });
    let timeout = Duration::from_millis(300);
    let config =
        ClientConfig { connect_timeout: timeout, request_timeout: timeout, ..ClientConfig::new(address.to_string()) };
    let error = tokio::time::timeout(Duration::from_secs(10), config.connect()).await.unwrap().unwrap_err();
    server.abort();
    let ConnectError::Call(error) = error else { panic!("{error}") };
    error
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn se_15_lengths_counts_and_cuts_are_typed_errors() {
    let lengths: [(&[u8], &str); 4] = [
        (&[0x7f, 0xff, 0xff, 0xff], "answer of 2147483647 bytes"),
        (&[0xff, 0xff, 0xff, 0xff], "answer of -1 bytes"),
        (&[0, 0, 0, 0], "answer of 0 bytes"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answer of 1213486160 bytes"),
    ];
    for (answer, named) in lengths {
        let error = against(answer.to_vec(), false).await.to_string();
        assert!(error.contains(named), "{error}");
    }
    // Correlation id 0, no error, and an array that nothing backs.
    let counts = frame(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let error = against(counts, false).await;
    assert!(matches!(error, CallError::Answer { .. }) || error.to_string().contains("makes no sense"), "{error}");
    let other = frame(&[0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0]);
    let error = against(other, false).await.to_string();
    assert!(error.contains("an answer to request 9 instead of 0"), "{error}");
    let cut = frame(&[0, 0, 0, 0, 0, 0])[..7].to_vec();
    let error = against(cut, true).await.to_string();
    assert!(error.contains("closed"), "{error}");
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let error = against(Vec::new(), false).await.to_string();
    assert!(error.contains("did not answer ApiVersions within 300 ms"), "{error}");
    let half = frame(&[0; 100])[..20].to_vec();
    let error = against(half, false).await.to_string();
    assert!(error.contains("within 300 ms"), "{error}");
}
