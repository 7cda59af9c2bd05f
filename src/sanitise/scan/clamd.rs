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
const LARGEST: u64 = (2 << 30) - 1;

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
        Some(name) => Scan::Infected(name.to_owned()),
        None if said == "OK" => Scan::Clean,
        None => not_scanned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, Clamd) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        (listener, Clamd { address, time: Duration::from_secs(20), patience: Duration::ZERO })
    }

    /// A stand-in that checks each part's length, takes at most `most` bytes and then answers; what it took.
    async fn stand_in(listener: TcpListener, most: usize, answer: &str) -> Vec<u8> {
        let (mut stream, _) = listener.accept().await.unwrap();
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
