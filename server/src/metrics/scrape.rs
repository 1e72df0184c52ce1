//! Numbers that somebody else counts, read at the moment of a scrape.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// One metric with its value, or its values by one label.
#[derive(Clone, Debug)]
pub struct Sample {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    label: Option<&'static str>,
    values: Vec<(&'static str, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

impl Sample {
    /// A number that only rises. The name stands without prefix and without `_total`.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            kind: Kind::Counter,
            label: None,
            values: vec![("", value)],
        }
    }

    /// A number that rises and falls. The name stands without prefix.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            kind: Kind::Gauge,
            label: None,
            values: vec![("", value)],
        }
    }

    /// A rising number per value of a label.
    pub fn counters(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: Vec<(&'static str, u64)>,
    ) -> Self {
        Self {
            name,
            help,
            kind: Kind::Counter,
            label: Some(label),
            values,
        }
    }

    /// Says that the value so far is that of `value` of `label`.
    #[must_use]
    pub fn labelled(mut self, label: &'static str, value: &'static str) -> Self {
        self.label = Some(label);
        for (name, _) in &mut self.values {
            *name = value;
        }
        self
    }

    /// One more value of the label.
    #[must_use]
    pub fn and(mut self, label_value: &'static str, value: u64) -> Self {
        self.values.push((label_value, value));
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        let Some(label) = self.label else {
            return self
                .values
                .iter()
                .try_for_each(|(_, value)| self.kind.encode(*value, &mut metric));
        };
        self.values.iter().try_for_each(|(label_value, value)| {
            let labels = [(label, *label_value)];
            self.kind
                .encode(*value, &mut metric.encode_family(&labels)?)
        })
    }
}

impl Kind {
    fn encode(self, value: u64, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
            Self::Gauge => encoder.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
        }
    }
}

type Read = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// Asks for samples at each scrape.
pub(super) struct Reading(Read);

impl Reading {
    pub(super) fn new(read: impl Fn() -> Vec<Sample> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)()
            .iter()
            .try_for_each(|sample| sample.encode(&mut encoder))
    }
}
