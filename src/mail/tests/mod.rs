//! Mails over real SMTP, on this machine.

#![expect(clippy::unwrap_used, reason = "tests")]

mod server;

use std::{sync::Arc, time::Duration};

use base::{Clock, ManualClock, Metrics, Random, Tasks};
use store::{Batch, MemoryBackend, Store};

use self::server::{Answers, SmtpSink};
use crate::{Carrier, Error, Letter, Mail, Mails, Parts, Refusal, Security, Smtp, SmtpServer, tables};

const AUTHORITY: &str = "kanazawa.test";

/// A store with mails that goes on after each of its processes.
struct Post {
    store: Store,
    clock: Clock,
    hand: ManualClock,
    tasks: Tasks,
}

impl Post {
    async fn new() -> Post {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::default());
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let (clock, hand) = Clock::manual(1_795_000_000_000);
        Post { store, clock, hand, tasks }
    }

    /// A process with these mails.
    fn mails(&self, carrier: Arc<dyn Carrier>) -> Mails {
        Mails::open(Parts {
            store: self.store.clone(),
            carrier,
            clock: self.clock.clone(),
            random: Random::os(),
            tasks: &self.tasks,
            metrics: &Metrics::new(),
        })
    }

    async fn put(&self, mails: &Mails, to: &str) {
        let mut batch = Batch::new();
        mails.put(&mut batch, AUTHORITY, &mail(to)).await.unwrap();
        self.store.commit(batch).await.unwrap();
    }

    async fn waiting(&self) -> usize {
        let all = store::Range::all();
        self.store.scan(&tables::WAITING, all, store::Order::Ascending, 9_999).await.unwrap().len()
    }
}

fn mail(to: &str) -> Mail {
    Mail {
        to: to.parse().unwrap(),
        subject: "【金沢市】メールアドレスの確認 / Confirm".to_owned(),
        text: "確認コード: ABCD\n.\nThis line follows a lone dot.\n".to_owned(),
        html: None,
        unsubscribe: None,
        good_for: Duration::from_secs(24 * 60 * 60),
    }
}

fn smtp(sink: &SmtpSink, security: Security, user: Option<(&str, &str)>) -> Arc<Smtp> {
    let server = SmtpServer {
        host: "localhost".to_owned(),
        port: sink.port(),
        security,
        user: user.map(|(name, word)| (name.to_owned(), word.to_owned())),
        ca: sink.ca().map(<[u8]>::to_vec),
        from: "noreply@kanazawa.example.jp".parse().unwrap(),
        from_name: Some("金沢市".to_owned()),
    };
    Arc::new(Smtp::new([(AUTHORITY.to_owned(), server)]).unwrap())
}

#[tokio::test]
async fn a_mail_that_is_put_comes_out_over_smtp_as_it_was_written() {
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    assert!(mails.serves(AUTHORITY) && !mails.serves("wajima.test"));
    mails.start_sending();

    post.put(&mails, "Hanako@example.jp").await;

    let got = sink.next().await;
    assert_eq!((got.from.as_str(), got.to.as_str()), ("noreply@kanazawa.example.jp", "hanako@example.jp"));
    assert_eq!(got.header("To"), "hanako@example.jp");
    assert!(got.header("From").contains("<noreply@kanazawa.example.jp>"), "{}", got.header("From"));
    assert_eq!(got.header("Auto-Submitted"), "auto-generated");
    assert_eq!(got.header("MIME-Version"), "1.0");
    assert!(got.header("Message-ID").ends_with("@kanazawa.example.jp>"));
    assert!(got.header("Subject").is_ascii() && got.header("Subject").contains("=?utf-8?"));
    assert_eq!(got.header("Date"), "Wed, 18 Nov 2026 11:06:40 +0000");
    assert_eq!(got.text().trim_end(), mail("a@example.jp").text.trim_end());
    sink.settled(&post).await;
}

#[tokio::test]
async fn over_tls_the_certificate_is_looked_at_and_the_password_is_said() {
    for security in [Security::Tls, Security::StartTls] {
        let post = Post::new().await;
        let sink = SmtpSink::tls(Answers::default(), security == Security::StartTls).await;
        let mails = post.mails(smtp(&sink, security, Some(("yakuba", "a secret"))));
        post.put(&mails, "hanako@example.jp").await;
        mails.send_due(AUTHORITY).await.unwrap();
        let got = sink.next().await;
        assert_eq!(got.login.as_deref(), Some("\0yakuba\0a secret"));
        assert!(got.encrypted);
        assert_eq!(post.waiting().await, 0);

        // Somebody in between has another certificate.
        let liar = SmtpSink::tls(Answers::default(), security == Security::StartTls).await;
        let mut server = smtp_to(&liar, security);
        server.ca = sink.ca().map(<[u8]>::to_vec);
        let fooled = Smtp::new([(AUTHORITY.to_owned(), server)]).unwrap();
        assert!(matches!(fooled.carry(&letter()).await, Err(Refusal::ForNow(_))));
        assert_eq!(liar.taken(), 0);
    }
    // Who does not offer TLS hears nothing.
    let plain = SmtpSink::plain(Answers::default()).await;
    let carrier = Smtp::new([(AUTHORITY.to_owned(), smtp_to(&plain, Security::StartTls))]).unwrap();
    assert!(matches!(carrier.carry(&letter()).await, Err(Refusal::ForNow(_))));
    assert_eq!(plain.taken(), 0);
}

fn smtp_to(sink: &SmtpSink, security: Security) -> SmtpServer {
    SmtpServer {
        host: "localhost".to_owned(),
        port: sink.port(),
        security,
        user: Some(("yakuba".to_owned(), "a secret".to_owned())),
        ca: sink.ca().map(<[u8]>::to_vec),
        from: "noreply@kanazawa.example.jp".parse().unwrap(),
        from_name: None,
    }
}

fn letter() -> Letter {
    Letter {
        authority: AUTHORITY.to_owned(),
        to: "hanako@example.jp".to_owned(),
        subject: "a".to_owned(),
        text: "b".to_owned(),
        html: None,
        unsubscribe: None,
        written: base::Timestamp(1_795_000_000_000),
        id: "c".to_owned(),
    }
}

#[tokio::test]
async fn what_is_not_taken_now_is_tried_again_later_and_what_is_refused_for_good_is_not() {
    let answers =
        Answers { recipient: vec!["451 4.7.1 greylisted", "550 5.1.1 no such user"], ..Answers::default() };
    let (post, sink) = (Post::new().await, SmtpSink::plain(answers).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    post.put(&mails, "hanako@example.jp").await;

    let next = mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!((post.waiting().await, sink.taken(), next), (1, 0, Duration::from_secs(15)));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!(sink.asked(), 1, "not before its time");
    post.hand.advance(Duration::from_secs(15));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!((post.waiting().await, sink.taken(), sink.asked()), (0, 0, 2));

    // A server that is away, and one that knows us no more: nothing is given up.
    let gone = smtp(&sink, Security::None, None);
    sink.go_away().await;
    let mails = post.mails(gone);
    post.put(&mails, "hanako@example.jp").await;
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!(post.waiting().await, 1);
    let refusing = SmtpSink::tls(Answers { login: Some("535 5.7.8 no"), ..Answers::default() }, false).await;
    let mails = post.mails(smtp(&refusing, Security::Tls, Some(("yakuba", "old"))));
    post.hand.advance(Duration::from_secs(15));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!((post.waiting().await, refusing.taken()), (1, 0));
}

#[tokio::test]
async fn a_mail_survives_the_process_that_took_it_and_the_one_that_was_about_to_send_it() {
    /// Ends in the middle of its work.
    struct Dies;
    #[async_trait::async_trait]
    impl Carrier for Dies {
        fn authorities(&self) -> Vec<String> {
            vec![AUTHORITY.to_owned()]
        }
        fn serves(&self, _: &str) -> bool {
            true
        }
        async fn carry(&self, _: &Letter) -> Result<(), Refusal> {
            std::future::pending().await
        }
    }
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let dying = post.mails(Arc::new(Dies));
    post.put(&dying, "hanako@example.jp").await;
    // It is claimed, and its process is no more.
    tokio::time::timeout(Duration::from_millis(50), dying.send_due(AUTHORITY)).await.unwrap_err();

    let mails = post.mails(smtp(&sink, Security::None, None));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!(sink.taken(), 0, "another one may be at it");
    post.hand.advance(Duration::from_secs(5 * 60));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!((sink.taken(), post.waiting().await), (1, 0));
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_no_other_authoritys_mails() {
    /// Brings the mails of one authority, and never ends with those of another.
    struct Half(tokio::sync::mpsc::UnboundedSender<Letter>);
    #[async_trait::async_trait]
    impl Carrier for Half {
        fn authorities(&self) -> Vec<String> {
            vec!["hanging.test".to_owned(), AUTHORITY.to_owned()]
        }
        fn serves(&self, _: &str) -> bool {
            true
        }
        async fn carry(&self, letter: &Letter) -> Result<(), Refusal> {
            if letter.authority != AUTHORITY {
                std::future::pending::<()>().await;
            }
            self.0.send(letter.clone()).map_err(|_| Refusal::ForNow("nobody reads".to_owned()))
        }
    }
    let post = Post::new().await;
    let (send, mut got) = tokio::sync::mpsc::unbounded_channel();
    let mails = post.mails(Arc::new(Half(send)));
    for number in 0..100 {
        let mut batch = Batch::new();
        mails.put(&mut batch, "hanging.test", &mail(&format!("a{number}@example.jp"))).await.unwrap();
        post.store.commit(batch).await.unwrap();
    }
    mails.start_sending();
    post.put(&mails, "hanako@example.jp").await;
    assert_eq!(got.recv().await.unwrap().to, "hanako@example.jp");
}

#[tokio::test]
async fn two_processes_send_a_mail_once() {
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let [one, two] = [(); 2].map(|()| post.mails(smtp(&sink, Security::None, None)));
    for number in 0..20 {
        post.put(&one, &format!("a{number}@example.jp")).await;
    }
    let (first, second) = tokio::join!(one.send_due(AUTHORITY), two.send_due(AUTHORITY));
    first.unwrap();
    second.unwrap();
    assert_eq!((sink.taken(), post.waiting().await), (20, 0));
}

#[tokio::test]
async fn what_is_worth_nothing_any_more_is_not_sent_and_a_calendar_that_was_set_back_holds_nothing_up() {
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    post.put(&mails, "hanako@example.jp").await;
    post.hand.set_back(Duration::from_secs(7 * 24 * 60 * 60));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!((sink.taken(), post.waiting().await), (1, 0));
    post.put(&mails, "hanako@example.jp").await;
    post.hand.advance(Duration::from_secs(25 * 60 * 60));
    mails.send_due(AUTHORITY).await.unwrap();
    assert_eq!((sink.taken(), post.waiting().await), (1, 0));
}

#[tokio::test]
async fn only_so_many_wait_and_places_come_back() {
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    let mut batch = Batch::new();
    batch.add(&tables::COUNTS, AUTHORITY, 1_999);
    post.store.commit(batch).await.unwrap();
    post.put(&mails, "hanako@example.jp").await;
    let full = mails.put(&mut Batch::new(), AUTHORITY, &mail("taro@example.jp")).await;
    assert!(matches!(full, Err(Error::Full)));
    mails.send_due(AUTHORITY).await.unwrap();
    mails.put(&mut Batch::new(), AUTHORITY, &mail("taro@example.jp")).await.unwrap();
    let large = Mail { text: "x".repeat(70_000), ..mail("taro@example.jp") };
    assert!(matches!(mails.put(&mut Batch::new(), AUTHORITY, &large).await, Err(Error::TooLarge)));
}

fn news(to: &str) -> Mail {
    Mail {
        html: Some("<p>お知らせ &amp; more</p>".to_owned()),
        unsubscribe: Some("https://kanazawa.example.jp/unsubscribe?token=abc.def".to_owned()),
        ..mail(to)
    }
}

#[tokio::test]
async fn news_come_in_both_forms_and_say_where_they_are_ended() {
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    let mut batch = Batch::new();
    mails.put(&mut batch, AUTHORITY, &news("hanako@example.jp")).await.unwrap();
    post.store.commit(batch).await.unwrap();

    mails.send_due(AUTHORITY).await.unwrap();

    let got = sink.next().await;
    assert_eq!(got.header("List-Unsubscribe"), "<https://kanazawa.example.jp/unsubscribe?token=abc.def>");
    assert_eq!(got.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert!(
        got.header("Content-Type").starts_with("multipart/alternative"),
        "{}",
        got.header("Content-Type")
    );
    let raw = got.text();
    let (plain, html) = (raw.find("text/plain").unwrap(), raw.find("text/html").unwrap());
    assert!(plain < html, "the best form is the last one");
}

#[tokio::test]
async fn news_that_an_address_refuses_are_counted_until_it_takes_one_and_keep_a_half_free() {
    let refused = "550 5.1.1 no such user";
    let answers = Answers { recipient: vec![refused, "451 later", refused, "250 ok"], ..Answers::default() };
    let (post, sink) = (Post::new().await, SmtpSink::plain(answers).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    let to = "hanako@example.jp".parse().unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut batch = Batch::new();
        mails.put(&mut batch, AUTHORITY, &news("hanako@example.jp")).await.unwrap();
        post.store.commit(batch).await.unwrap();
        mails.send_due(AUTHORITY).await.unwrap();
        told.push(mails.refusals(AUTHORITY, &to).await.unwrap());
        post.hand.advance(Duration::from_secs(1));
    }
    // The second one is put off, and says nothing of the address; the last one is taken.
    assert_eq!(told, [1, 1, 2, 0]);
    let mut batch = Batch::new();
    batch.add(&tables::COUNTS, AUTHORITY, 999);
    post.store.commit(batch).await.unwrap();
    let full = mails.put(&mut Batch::new(), AUTHORITY, &news("taro@example.jp")).await;
    assert!(matches!(full, Err(Error::Full)));
    mails.put(&mut Batch::new(), AUTHORITY, &mail("taro@example.jp")).await.unwrap();
}

/// RFC 5322, 2.1.1 and 2.2; RFC 5321, 4.5.3.1.6: lines of 998 bytes at most that end in CRLF, headers of ASCII alone.
fn assert_is_a_mail(got: &server::Got) {
    assert_eq!(got.odd, 0, "each line ends in CRLF, and holds none of its halves");
    let head = got.lines().iter().take_while(|line| !line.is_empty());
    for line in head {
        let is_written = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
        assert!(line.bytes().all(is_written), "{line:?}");
        assert!(line.starts_with([' ', '\t']) || line.split_once(": ").is_some(), "{line:?}");
        assert!(!line.trim().is_empty(), "no line of a folded header is empty");
    }
    for line in got.lines() {
        assert!(line.len() <= 998 && !line.contains('\0'), "{} bytes", line.len());
    }
}

#[tokio::test]
async fn what_is_sent_is_a_mail_whatever_is_in_it() {
    let texts = [
        "x".repeat(5_000),
        format!("https://example.jp/{}", "a".repeat(3_000)),
        "防災".repeat(2_000),
        format!("{}\n{}", "short", "y".repeat(1_200)),
        "a\rb\nc\r\nd\r\n.\r\n..\n.\nRCPT TO:<x@example.jp>\n".to_owned(),
        "a\u{0}b\u{7}c\u{1b}[31m".to_owned(),
        String::new(),
        "trailing   \n\t\n".to_owned(),
    ];
    let subjects = [
        "件名".repeat(200),
        "s".repeat(1_500),
        "words ".repeat(300),
        "a\r\nBcc: taro@example.jp".to_owned(),
        "=?utf-8?b?44GC?= に見える".to_owned(),
        " ".to_owned(),
        String::new(),
    ];
    let names = [
        None,
        Some("金沢市 \"総務課\" <窓口>, 係; (1)".to_owned()),
        Some("City Hall, \"General\" <x@example.jp>".to_owned()),
        Some("長い名前".repeat(60)),
        Some("a\r\nBcc: taro@example.jp".to_owned()),
    ];
    let sink = SmtpSink::plain(Answers::default()).await;
    for (place, from_name) in names.into_iter().enumerate() {
        let server = SmtpServer {
            user: None,
            from_name,
            from: "oshirase@市役所.example.jp".parse().unwrap(),
            ..smtp_to(&sink, Security::None)
        };
        let carrier = Smtp::new([(AUTHORITY.to_owned(), server)]).unwrap();
        for (text, subject) in texts.iter().zip(subjects.iter().cycle().skip(place)) {
            for html in [None, Some(format!("<p>{text}</p>"))] {
                let unsubscribe = Some(format!("https://example.jp/u?token={}", "t".repeat(700)));
                let (text, subject) = (text.clone(), subject.clone());
                let letter = Letter { text, subject, html, unsubscribe, ..letter() };
                carrier.carry(&letter).await.unwrap();
                let got = sink.next().await;
                assert_is_a_mail(&got);
                let from = format!("oshirase@{}.example.jp", puny());
                assert_eq!(got.from, from);
                let shown = got.header("From");
                assert!(shown == from || shown.ends_with(&format!("<{from}>")), "{shown}");
                assert_eq!(
                    (got.header("Bcc"), got.header("To").as_str()),
                    (String::new(), "hanako@example.jp")
                );
            }
        }
    }
}

/// 市役所, as DNS has it.
fn puny() -> String {
    let from: crate::EmailAddress = "a@市役所.example.jp".parse().unwrap();
    from.domain().split('.').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_that_does_not_fit_a_line_is_refused_before_it_waits() {
    let (post, sink) = (Post::new().await, SmtpSink::plain(Answers::default()).await);
    let mails = post.mails(smtp(&sink, Security::None, None));
    let long = Some(format!("https://example.jp/{}", "u".repeat(1_000)));
    let refused = Mail { unsubscribe: long, ..mail("hanako@example.jp") };
    assert!(matches!(mails.put(&mut Batch::new(), AUTHORITY, &refused).await, Err(Error::TooLarge)));
}
