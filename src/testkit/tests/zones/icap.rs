//! A stand-in for a product that speaks ICAP.

use std::{
    io::Cursor,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::samples::eicar;

/// Stands in for a product that speaks ICAP, with a preview of eight bytes. What a file says is what becomes of it; gives
/// the number of files that it saw whole.
pub(crate) async fn serve() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                head(&mut stream).await?;
                stream.write_all(b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nPreview: 8\r\n\r\n").await?;
                let asked = head(&mut stream).await?;
                // The request and the answer that the file is the body of.
                head(&mut stream).await?;
                head(&mut stream).await?;
                let (mut file, is_all) = chunks(&mut stream).await?;
                if !asked.contains("Preview: 8\r\n") || file.len() != 8 || is_all {
                    return stream.write_all(b"ICAP/1.0 400 Bad preview\r\n\r\n").await;
                }
                stream.write_all(b"ICAP/1.0 100 Continue\r\n\r\n").await?;
                file.extend(chunks(&mut stream).await?.0);
                counted.fetch_add(1, Ordering::Relaxed);
                match String::from_utf8_lossy(&file) {
                    file if file.contains("clean") => {
                        stream.write_all(b"ICAP/1.0 204 No Content\r\n\r\n").await
                    }
                    file if file.contains("refused") => {
                        stream.write_all(b"ICAP/1.0 403 Forbidden\r\n\r\n").await
                    }
                    file if file.contains("changed") => give(&mut stream, b"new text").await,
                    file if file.contains("a program") => {
                        give(&mut stream, b"MZ\x90\0\x03\0\0\0 and so on").await
                    }
                    file if file.contains("a page") => {
                        give(&mut stream, b"<!DOCTYPE html><html><script>alert(1)</script></html>").await
                    }
                    file if file.contains("a picture") => give(&mut stream, &picture()).await,
                    file if file.contains("infected") => give(&mut stream, &eicar()).await,
                    file if file.contains("endless") => {
                        stream.write_all(CHANGED).await?;
                        let part = [b"100000\r\n", &vec![b'a'; 1 << 20][..], b"\r\n"].concat();
                        loop {
                            stream.write_all(&part).await?;
                        }
                    }
                    // It says eight bytes and is gone after three.
                    _ => stream.write_all(&[CHANGED, b"8\r\nnew"].concat()).await,
                }
            });
        }
    });
    (address, seen)
}

/// What stands in front of a file that is put in another's place.
const CHANGED: &[u8] =
    b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";

/// What the picture says beside what it shows.
pub(crate) const COMMENT: &[u8] = b"taken at the office";

/// Puts a file in another's place.
async fn give(stream: &mut BufReader<TcpStream>, file: &[u8]) -> std::io::Result<()> {
    let length = format!("{:x}\r\n", file.len());
    stream.write_all(&[CHANGED, length.as_bytes(), file, b"\r\n0\r\n\r\n"].concat()).await
}

/// A PNG with a comment behind its end.
fn picture() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    [&bytes.into_inner(), COMMENT].concat()
}

/// A head to its empty line.
async fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// The bytes of chunks, and whether they are said to be all.
async fn chunks(stream: &mut BufReader<TcpStream>) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let mut part = vec![0; usize::from_str_radix(length, 16).map_err(std::io::Error::other)? + 2];
        stream.read_exact(&mut part).await?;
        if part.len() == 2 {
            return Ok((bytes, line.contains("ieof")));
        }
        bytes.extend(&part[..part.len() - 2]);
    }
}
