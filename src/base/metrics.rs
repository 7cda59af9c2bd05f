//! Metrics in the format of Prometheus.
//!
//! A [`Metrics`] is one registry, passed to whoever counts something. Names are
//! `yakuba_<crate>_<what>_<unit>`; asking twice for a name gives the same metric, so that two
//! stores or two authorities of one process add to one figure.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter,
        family::{Family, MetricConstructor},
        gauge, histogram,
    },
    registry::{Metric, Registry},
};

use crate::{Caches, cache::CacheGauges};

/// A number that only grows.
pub type Counter = counter::Counter<u64, AtomicU64>;

/// A number that goes up and down.
pub type Gauge = gauge::Gauge;

/// How often a measured value fell into each of its buckets.
pub type Histogram = histogram::Histogram;

type Labels = Vec<(&'static str, String)>;

/// The registry of all metrics of a process. Cheap to clone; clones are the same registry.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Inner>>, Caches);

#[derive(Default)]
struct Inner {
    registry: Registry,
    known: HashMap<&'static str, Box<dyn Any + Send>>,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// The caches whose sizes are among the metrics.
    pub fn caches(&self) -> &Caches {
        &self.1
    }

    /// A counter. Its name must not end in `_total`: the format adds that.
    pub fn counter(&self, name: &'static str, help: &str) -> Counter {
        self.registered(name, help, Counter::default)
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &str) -> Gauge {
        self.registered(name, help, Gauge::default)
    }

    /// A histogram with these upper bounds, in the unit that its name ends with.
    pub fn histogram(&self, name: &'static str, help: &str, buckets: &'static [f64]) -> Histogram {
        self.registered(name, help, || Histogram::new(buckets.iter().copied()))
    }

    /// Counters that differ in their labels.
    pub fn counter_family(&self, name: &'static str, help: &str) -> CounterFamily {
        CounterFamily(self.registered(name, help, Family::default))
    }

    /// Gauges that differ in their labels.
    pub fn gauge_family(&self, name: &'static str, help: &str) -> GaugeFamily {
        GaugeFamily(self.registered(name, help, Family::default))
    }

    /// Histograms that differ in their labels.
    pub fn histogram_family(
        &self,
        name: &'static str,
        help: &str,
        buckets: &'static [f64],
    ) -> HistogramFamily {
        HistogramFamily(self.registered(name, help, || Family::new_with_constructor(Buckets(buckets))))
    }

    /// All metrics as text, as `/metrics` answers them (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        CacheGauges::new(self).set(&self.1);
        let mut text = String::new();
        // Writing to a string fails never; an empty answer is the honest rest.
        if encode(&mut text, &self.0.lock().registry).is_err() {
            text.clear();
        }
        text
    }

    /// The metric of this name: a clone of the known one, or a new one.
    ///
    /// Two kinds under one name are a mistake in the program; the second then counts unseen.
    fn registered<M>(&self, name: &'static str, help: &str, make: impl FnOnce() -> M) -> M
    where
        M: Metric + Clone + Send + 'static,
    {
        let mut inner = self.0.lock();
        if let Some(known) = inner.known.get(name) {
            debug_assert!(known.is::<M>(), "{name} is registered as another kind of metric");
            return known.downcast_ref::<M>().cloned().unwrap_or_else(make);
        }
        let metric = make();
        inner.registry.register(name, help.trim_end_matches('.'), metric.clone());
        inner.known.insert(name, Box::new(metric.clone()));
        metric
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("known", &self.0.lock().known.len()).finish()
    }
}

/// Makes the histograms of a family.
#[derive(Clone)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Counters of one name that differ in their labels. Label values come from small fixed sets.
#[derive(Clone, Debug)]
pub struct CounterFamily(Family<Labels, Counter>);

impl CounterFamily {
    /// The counter with these labels. Keep it where it is counted often.
    pub fn with(&self, labels: &[(&'static str, &str)]) -> Counter {
        self.0.get_or_create_owned(&owned(labels))
    }
}

/// Gauges of one name that differ in their labels. Label values come from small fixed sets.
#[derive(Clone, Debug)]
pub struct GaugeFamily(Family<Labels, Gauge>);

impl GaugeFamily {
    /// The gauge with these labels. Keep it where it is set often.
    pub fn with(&self, labels: &[(&'static str, &str)]) -> Gauge {
        self.0.get_or_create_owned(&owned(labels))
    }
}

/// Histograms of one name that differ in their labels. Label values come from small fixed sets.
#[derive(Clone)]
pub struct HistogramFamily(Family<Labels, Histogram, Buckets>);

impl HistogramFamily {
    /// The histogram with these labels. Keep it where it is used often.
    pub fn with(&self, labels: &[(&'static str, &str)]) -> Histogram {
        self.0.get_or_create_owned(&owned(labels))
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}
