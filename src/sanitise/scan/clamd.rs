//! ClamAV: the file is streamed to clamd's socket (`INSTREAM`).
//!
//! Protocol: clamd(8), "COMMANDS".

use std::{io, path::PathBuf, time::Duration};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

use super::{PART, Scan, Scanner};

/// Where clamd listens.
#[derive(Debug, Clone)]
pub enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// A clamd.
#[derive(Debug, Clone)]
pub struct Clamd {
    /// Where it listens.
    pub address: Address,
    /// Longest time for one file, from the connection on.
    pub time: Duration,
    /// How long one that is down is waited for; nothing of the file is read meanwhile.
    pub patience: Duration,
}

/// Above this ClamAV calls files clean without having looked at them, whatever it is told to allow.
///
/// Source: ClamAV 1.5, libclamav/others.c, where `MaxFileSize` is set
const LARGEST: u64 = (2 << 30) - 3;

/// Longest answer, in bytes.
const LONGEST_ANSWER: u64 = 4096;

/// Between two attempts to reach one that is down.
const BETWEEN: Duration = Duration::from_millis(250);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Clamd {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let until = Instant::now() + self.patience;
        loop {
            let attempt = async {
                Ok::<Box<dyn Stream>, io::Error>(match &self.address {
                    Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                    Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
                })
            };
            match timeout(self.time, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Err(_) if Instant::now() + BETWEEN < until => sleep(BETWEEN).await,
                done => return done,
            }
        }
    }
}

#[async_trait]
impl Scanner for Clamd {
    async fn scan(&self, input: &mut (dyn AsyncRead + Unpin + Send)) -> Scan {
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(error) => return Scan::NotScanned(format!("clamd is not reached: {error}")),
        };
        match timeout(self.time, exchange(stream, input)).await {
            Ok(Ok(scan)) => scan,
            Ok(Err(error)) => Scan::NotScanned(format!("clamd broke off: {error}")),
            Err(_) => Scan::NotScanned("clamd took too long".to_owned()),
        }
    }
}

async fn exchange(
    mut stream: Box<dyn Stream>,
    input: &mut (dyn AsyncRead + Unpin + Send),
) -> io::Result<Scan> {
    stream.write_all(b"zINSTREAM\0").await?;
    let (mut total, mut part) = (0_u64, vec![0; 4 + PART]);
    let sent = loop {
        let count = input.read(&mut part[4..]).await?;
        total += count as u64;
        if total > LARGEST {
            return Ok(Scan::TooLarge("larger than ClamAV looks at".to_owned()));
        }
        // The length goes with its part: a length alone could be followed by nothing.
        part[..4].copy_from_slice(&u32::try_from(count).map_err(io::Error::other)?.to_be_bytes());
        match stream.write_all(&part[..4 + count]).await {
            Ok(()) if count == 0 => break Ok(()),
            Ok(()) => {}
            // It has closed, and said why before.
            Err(error) => break Err(error),
        }
    };
    let mut answer = Vec::new();
    let read = (&mut stream).take(LONGEST_ANSWER).read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    match understand(answer.trim_end_matches(['\0', '\n'])) {
        Scan::Clean => {
            sent?;
            read?;
            Ok(Scan::Clean)
        }
        other => Ok(other),
    }
}

fn understand(answer: &str) -> Scan {
    let not_scanned = || Scan::NotScanned(format!("clamd says: {answer}"));
    let is_size = ["size limit exceeded", "Limits.Exceeded.MaxFileSize", "Limits.Exceeded.MaxScanSize"];
    if is_size.iter().any(|limit| answer.contains(limit)) {
        return Scan::TooLarge(format!("clamd says: {answer}"));
    }
    let Some(said) = answer.strip_prefix("stream: ") else { return not_scanned() };
    match said.strip_suffix(" FOUND") {
        // It gave up on what was too large or too deep for it.
        Some(name) if name == "(null)" || name.contains("Limits.Exceeded") => not_scanned(),
        // No virus was found, as nothing was looked at (`AlertEncrypted yes`).
        Some(name) if name.starts_with("Heuristics.Encrypted.") => Scan::Encrypted(name.to_owned()),
        Some(name) => Scan::Infected(name.to_owned()),
        None if said == "OK" => Scan::Clean,
        None => not_scanned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        pin::Pin,
        sync::{Arc, Mutex},
        task::{Context, Poll},
    };

    use tokio::{
        io::ReadBuf,
        net::{TcpListener, UnixListener},
    };

    use super::*;

    async fn listener() -> (TcpListener, Clamd) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        (listener, Clamd { address, time: Duration::from_secs(20), patience: Duration::ZERO })
    }

    /// A stand-in that checks each part's length, takes at most `most` bytes and then answers; what it took.
    async fn stand_in(listener: TcpListener, most: usize, answer: &str) -> Vec<u8> {
        let (stream, _) = listener.accept().await.unwrap();
        take(stream, most, answer).await
    }

    /// The same of what was accepted.
    async fn take(mut stream: impl Stream, most: usize, answer: &str) -> Vec<u8> {
        let mut command = [0; 10];
        stream.read_exact(&mut command).await.unwrap();
        assert_eq!(&command, b"zINSTREAM\0");
        let mut taken = Vec::new();
        loop {
            let length = usize::try_from(stream.read_u32().await.unwrap()).unwrap();
            assert!(length <= PART);
            let mut part = vec![0; length];
            stream.read_exact(&mut part).await.unwrap();
            taken.extend(&part);
            if length == 0 || taken.len() > most {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        taken
    }

    #[tokio::test]
    async fn a_whole_file_is_sent_in_parts_and_the_answer_is_believed() {
        let file: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let cases = [
            ("stream: OK\0", Scan::Clean),
            ("stream: Eicar-Signature FOUND\0", Scan::Infected("Eicar-Signature".to_owned())),
            (
                "stream: Heuristics.Encrypted.Zip FOUND\0",
                Scan::Encrypted("Heuristics.Encrypted.Zip".to_owned()),
            ),
        ];
        for (answer, wanted) in cases {
            let (listener, clamd) = listener().await;
            let mut input = file.as_slice();
            let (taken, scan) = tokio::join!(stand_in(listener, usize::MAX, answer), clamd.scan(&mut input));
            assert_eq!(scan, wanted);
            assert!(taken == file);
        }
    }

    #[tokio::test]
    async fn what_is_not_clearly_clean_is_not_scanned() {
        let answers = [
            "stream: (null) FOUND\0",
            "stream: Heuristics.Limits.Exceeded.MaxRecursion FOUND\0",
            "stream: Can't allocate memory ERROR\0",
            "stream: OKAY\0",
            "",
        ];
        for answer in answers {
            let (listener, clamd) = listener().await;
            let mut input = &b"file"[..];
            let (_, scan) = tokio::join!(stand_in(listener, usize::MAX, answer), clamd.scan(&mut input));
            assert!(matches!(scan, Scan::NotScanned(_)), "{answer}: {scan:?}");
        }
    }

    #[tokio::test]
    async fn what_it_never_looks_at_is_told_apart() {
        for answer in [
            "INSTREAM size limit exceeded. ERROR\0",
            "stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
            "stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0",
        ] {
            let (listener, clamd) = listener().await;
            let mut input = &b"file"[..];
            let (_, scan) = tokio::join!(stand_in(listener, usize::MAX, answer), clamd.scan(&mut input));
            assert!(matches!(scan, Scan::TooLarge(_)), "{answer}: {scan:?}");
        }
    }

    #[tokio::test]
    async fn one_that_closes_before_the_end_never_makes_a_file_clean() {
        for answer in ["stream: OK\0", "INSTREAM size limit exceeded. ERROR\0"] {
            let (listener, clamd) = listener().await;
            let mut large = tokio::io::repeat(1).take(64 << 20);
            let (_, scan) = tokio::join!(stand_in(listener, 1000, answer), clamd.scan(&mut large));
            assert!(matches!(scan, Scan::NotScanned(_) | Scan::TooLarge(_)), "{answer}: {scan:?}");
        }
    }

    #[tokio::test]
    async fn one_that_is_down_or_silent_is_not_waited_for_longer_than_told() {
        let (listener, mut clamd) = listener().await;
        clamd.time = Duration::from_millis(50);
        assert!(matches!(clamd.scan(&mut &b"file"[..]).await, Scan::NotScanned(_)), "silent");
        drop(listener);
        assert!(matches!(clamd.scan(&mut &b"file"[..]).await, Scan::NotScanned(_)), "down");
    }

    #[tokio::test]
    async fn one_that_comes_up_within_the_time_that_is_waited_is_asked() {
        let (listener, mut clamd) = listener().await;
        let address = listener.local_addr().unwrap();
        drop(listener);
        clamd.patience = Duration::from_secs(60);
        let scan = tokio::spawn(async move { clamd.scan(&mut &b"file"[..]).await });
        tokio::task::yield_now().await;
        let listener = TcpListener::bind(address).await.unwrap();
        assert_eq!(stand_in(listener, 100, "stream: OK\0").await, b"file");
        assert_eq!(scan.await.unwrap(), Scan::Clean);
    }

    /// A clamd of memory: takes at most so many bytes at a time, keeps the lengths of parts and what of them it is told to keep, and
    /// says that the file is clean.
    struct Sink {
        at_a_time: usize,
        keeps: bool,
        taken: Arc<Mutex<Taken>>,
        answer: &'static [u8],
    }

    #[derive(Default)]
    struct Taken {
        /// What of a command or a length has come, and what of a part is still to come.
        head: Vec<u8>,
        left: usize,
        has_command: bool,
        total: u64,
        parts: Vec<usize>,
        file: Vec<u8>,
    }

    impl Taken {
        fn take(&mut self, mut bytes: &[u8], keeps: bool) {
            while !bytes.is_empty() {
                if self.left > 0 {
                    let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                    self.left -= part.len();
                    self.total += part.len() as u64;
                    if keeps {
                        self.file.extend(part);
                    }
                    bytes = rest;
                    continue;
                }
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                if !self.has_command && self.head.len() == 10 {
                    assert_eq!(self.head, b"zINSTREAM\0");
                    self.has_command = true;
                    self.head.clear();
                } else if self.has_command && self.head.len() == 4 {
                    let length = u32::from_be_bytes([self.head[0], self.head[1], self.head[2], self.head[3]]);
                    self.left = usize::try_from(length).unwrap();
                    self.parts.push(self.left);
                    self.head.clear();
                }
            }
        }
    }

    impl AsyncWrite for Sink {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.at_a_time);
            self.taken.lock().unwrap().take(&bytes[..count], self.keeps);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Sink {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            room.put_slice(std::mem::take(&mut self.answer));
            Poll::Ready(Ok(()))
        }
    }

    /// A file of so many bytes, of which at most so many come at a time; nothing is written for them.
    struct Sparse {
        left: u64,
        at_a_time: usize,
    }

    impl AsyncRead for Sparse {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = room.initialize_unfilled().len().min(self.at_a_time);
            let count = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
            room.advance(count);
            self.left -= u64::try_from(count).unwrap();
            Poll::Ready(Ok(()))
        }
    }

    async fn sunk(mut input: impl AsyncRead + Unpin + Send, at_a_time: usize, keeps: bool) -> (Scan, Taken) {
        let taken = Arc::new(Mutex::new(Taken::default()));
        let sink = Sink { at_a_time, keeps, taken: taken.clone(), answer: b"stream: OK\0" };
        let scan = exchange(Box::new(sink), &mut input).await.unwrap();
        (scan, std::mem::take(&mut *taken.lock().unwrap()))
    }

    #[tokio::test]
    async fn a_file_that_clamav_looks_at_in_no_case_is_never_clean_whatever_clamd_says() {
        // Above INT_MAX - 2 the engine says that a file is clean without a look, also where StreamMaxLength is 5 GB.
        let largest = u64::try_from(i32::MAX).unwrap() - 2;
        for (length, is_clean) in
            [(largest, true), (largest + 1, false), (2 << 30, false), (4 << 30, false), (5 << 30, false)]
        {
            let (scan, taken) = sunk(Sparse { left: length, at_a_time: usize::MAX }, usize::MAX, false).await;
            assert_eq!(matches!(scan, Scan::Clean), is_clean, "{length}: {scan:?}");
            assert_eq!(matches!(scan, Scan::TooLarge(_)), !is_clean, "{length}: {scan:?}");
            // Nor is what it takes said to be all.
            assert!(taken.total <= largest, "{length}");
            assert_eq!(taken.parts.last() == Some(&0), is_clean, "{length}");
        }
    }

    #[tokio::test]
    async fn each_part_is_written_whole_behind_its_own_length_however_it_is_taken_and_given() {
        // What is read as a length if one is lost: 20 FF 00 A1.
        let file: Vec<u8> = b"\x20\xff\x00\xa1".iter().copied().cycle().take(150_001).collect();
        for at_a_time in [1, 3, 7, 4_099, PART + 3, usize::MAX] {
            let (scan, taken) = sunk(&file[..], at_a_time, true).await;
            assert_eq!(scan, Scan::Clean);
            assert!(taken.file == file && taken.left == 0 && taken.head.is_empty(), "{at_a_time}");
            assert_eq!(taken.parts, [PART, PART, 150_001 - 2 * PART, 0], "{at_a_time}");
        }
        // A file that comes in pieces has parts as they come, and none of no length before its end.
        let (_, taken) = sunk(Sparse { left: 1_000, at_a_time: 300 }, 11, true).await;
        assert_eq!(taken.parts, [300, 300, 300, 100, 0]);
        let (_, taken) = sunk(&b""[..], 1, true).await;
        assert_eq!(taken.parts, [0]);
    }

    #[tokio::test]
    async fn many_files_at_a_time_do_not_run_into_each_other() {
        let (listener, clamd) = listener().await;
        let files: Vec<Vec<u8>> =
            (0..100_u8).map(|number| [&[number], &b"\x20\xff\x00\xa1".repeat(20_000)[..]].concat()).collect();
        let sent = files.iter().map(|file| {
            let (clamd, file) = (clamd.clone(), file.clone());
            tokio::spawn(async move { clamd.scan(&mut &file[..]).await })
        });
        let sent: Vec<_> = sent.collect();
        let mut taking = Vec::new();
        for _ in &files {
            let (stream, _) = listener.accept().await.unwrap();
            taking.push(tokio::spawn(take(stream, usize::MAX, "stream: OK\0")));
        }
        let mut taken = Vec::new();
        for one in taking {
            taken.push(one.await.unwrap());
        }
        taken.sort();
        assert!(taken == files);
        for one in sent {
            assert_eq!(one.await.unwrap(), Scan::Clean);
        }
    }

    #[tokio::test]
    async fn the_reason_is_heard_of_one_that_closes_while_the_file_is_sent() {
        type IsHeard = fn(&Scan) -> bool;
        let answers: [(&str, IsHeard); 3] = [
            ("INSTREAM size limit exceeded. ERROR\0", |scan| matches!(scan, Scan::TooLarge(_))),
            ("stream: Eicar-Signature FOUND\0", |scan| *scan == Scan::Infected("Eicar-Signature".to_owned())),
            // Of a part of it.
            ("stream: OK\0", |scan| matches!(scan, Scan::NotScanned(_))),
        ];
        for (answer, is_heard) in answers {
            let (listener, clamd) = listener().await;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("clamd");
            let local = UnixListener::bind(&path).unwrap();
            let of_here = Clamd { address: Address::Unix(path), ..clamd.clone() };
            // More than lies in the buffers of both ends: the write fails, and what was said is there to be read.
            let large = || Sparse { left: 64 << 20, at_a_time: usize::MAX };
            let (mut one, mut other) = (large(), large());
            let over_tcp = async { take(listener.accept().await.unwrap().0, 1_000, answer).await };
            let (_, scan) = tokio::join!(over_tcp, clamd.scan(&mut one));
            assert!(is_heard(&scan) && one.left > 0, "{answer}: {scan:?}");
            let here = async { take(local.accept().await.unwrap().0, 1_000, answer).await };
            let (_, scan) = tokio::join!(here, of_here.scan(&mut other));
            assert!(is_heard(&scan) && other.left > 0, "{answer}: {scan:?}");
        }
    }

    /// With one signature of ours, which is EICAR's, so that no database is fetched.
    #[tokio::test]
    #[ignore = "needs Debian's clamav-daemon"]
    async fn a_real_clamd_finds_the_test_file_and_nothing_in_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let eicar =
            [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-"[..], b"ANTIVIRUS-TEST-FILE!$H+H*"].concat();
        let digits: String = eicar.iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::create_dir(path("signatures")).unwrap();
        std::fs::write(path("signatures/local.ndb"), format!("Local.Eicar:0:*:{digits}\n")).unwrap();
        let settings = format!(
            "LocalSocket {}\nDatabaseDirectory {}\nForeground yes\nStreamMaxLength 100K\n",
            path("socket").display(),
            path("signatures").display()
        );
        std::fs::write(path("settings"), settings).unwrap();
        let _clamd = tokio::process::Command::new("/usr/sbin/clamd")
            .arg("--config-file")
            .arg(path("settings"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let minute = Duration::from_secs(60);
        let clamd = Clamd { address: Address::Unix(path("socket")), time: minute, patience: minute };
        assert!(
            matches!(clamd.scan(&mut eicar.as_slice()).await, Scan::Infected(name) if name.contains("Local.Eicar"))
        );
        assert_eq!(clamd.scan(&mut &b"a harmless file"[..]).await, Scan::Clean);
        // More than it takes is not said to be clean.
        let large = clamd.scan(&mut tokio::io::repeat(b'a').take(1 << 20)).await;
        assert!(matches!(large, Scan::TooLarge(_)), "{large:?}");
    }
}
