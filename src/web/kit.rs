//! What every request needs besides its handler.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Clock, Counter, CounterFamily, Gauge, HistogramFamily, Metrics, Random};
use tracing::warn;

use crate::{
    BodyBounds, Faces, Limits, Proxies, SignatureCheck, SourceCheck, TokenCheck,
    bodies::{BODY_PAUSE, BODY_TIMEOUT, Bodies},
};

/// What every request needs besides its handler: who checks tokens and signatures, whose faces
/// there are, where it is counted.
pub struct Kit {
    pub(crate) tokens: Arc<dyn TokenCheck>,
    pub(crate) signatures: Arc<dyn SignatureCheck>,
    pub(crate) sources: Option<Arc<dyn SourceCheck>>,
    pub(crate) faces: Faces,
    pub(crate) clock: Clock,
    pub(crate) proxies: Proxies,
    pub(crate) limits: Limits,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) body_timeout: Duration,
    pub(crate) body_pause: Duration,
    pub(crate) requests: CounterFamily,
    pub(crate) durations: HistogramFamily,
    pub(crate) in_flight: Gauge,
    pub(crate) panics: Counter,
    contact: String,
    /// The token of the administrator's commands, if there is one.
    operator: Option<String>,
    /// Whether it was said that a proxy names nobody.
    told_nameless: AtomicBool,
    /// Begins every request id, so that ids of two runs differ.
    run: String,
    next_request: AtomicU64,
}

impl Kit {
    /// A kit for one process.
    pub fn new(
        tokens: Arc<dyn TokenCheck>,
        signatures: Arc<dyn SignatureCheck>,
        faces: Faces,
        clock: Clock,
        random: &Random,
        metrics: &Metrics,
    ) -> Kit {
        Kit {
            tokens,
            signatures,
            sources: None,
            faces,
            limits: Limits::off(&clock, metrics),
            clock,
            proxies: Proxies::default(),
            bodies: Bodies::new(BodyBounds::default(), metrics),
            body_timeout: BODY_TIMEOUT,
            body_pause: BODY_PAUSE,
            requests: metrics.counter_family("yakuba_web_requests", "Requests answered"),
            durations: metrics.histogram_family(
                "yakuba_web_request_duration_seconds",
                "Time from a request's head to its answer's head; long polls wait on purpose",
                &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0],
            ),
            in_flight: metrics.gauge("yakuba_web_requests_in_flight", "Requests that are being answered"),
            panics: metrics.counter("yakuba_web_request_panics", "Requests that ended in a panic"),
            contact: String::new(),
            operator: None,
            told_nameless: AtomicBool::new(false),
            run: random.token(6),
            next_request: AtomicU64::new(1),
        }
    }

    /// Whom users turn to when the server cannot help itself: a URI.
    #[must_use]
    pub fn with_contact(mut self, contact: String) -> Kit {
        self.contact = contact;
        self
    }

    pub(crate) fn contact(&self) -> &str {
        &self.contact
    }

    /// Believes whoever shows this token to be at the command line of the machine.
    #[must_use]
    pub fn with_operator(mut self, token: String) -> Kit {
        self.operator = Some(token);
        self
    }

    /// Believes whoever shows a token of these to be an identity system of an authority.
    #[must_use]
    pub fn with_sources(mut self, sources: Arc<dyn SourceCheck>) -> Kit {
        self.sources = Some(sources);
        self
    }

    /// Whether a token is that of the administrator's commands.
    pub fn is_operators(&self, shown: &str) -> bool {
        self.operator.as_ref().is_some_and(|token| {
            // Compared in the same time whatever is wrong, so that nobody can feel his way forward.
            let differing = shown.bytes().zip(token.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
            !token.is_empty() && shown.len() == token.len() && differing == 0
        })
    }

    /// Believes these proxies; without any, a client is where its connection comes from.
    #[must_use]
    pub fn behind(mut self, proxies: Proxies) -> Kit {
        self.proxies = proxies;
        self
    }

    /// Says, once, that a proxy does not tell for whom it asks.
    pub(crate) fn note_nameless(&self, proxy: IpAddr) {
        if self.told_nameless.load(Ordering::Relaxed) || self.told_nameless.swap(true, Ordering::Relaxed) {
            return;
        }
        warn!(
            %proxy, header = %self.proxies.header.name(),
            "a trusted proxy does not say for whom it asks, so limits count all behind it together; it has to write the header"
        );
    }

    /// Answers so often; without this, there are no limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Kit {
        self.limits = limits;
        self
    }

    /// Holds so much of requests' bodies in memory.
    #[must_use]
    pub fn with_body_bounds(mut self, bounds: BodyBounds, metrics: &Metrics) -> Kit {
        self.bodies = Bodies::new(bounds, metrics);
        self
    }

    /// The faces of this process.
    pub fn faces(&self) -> &Faces {
        &self.faces
    }

    /// An id for a request, unlike that of any other: for the log and the answer.
    pub(crate) fn request_id(&self) -> String {
        format!("{}-{}", self.run, self.next_request.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("faces", &self.faces).finish_non_exhaustive()
    }
}
