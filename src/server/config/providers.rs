//! The identity providers that a configuration names, for who asks them.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::anyhow;
use ruma::OwnedServerName;
use upstream::{BadTemplate, Label, Settings, StaffClaims, Template};

use super::Config;
use crate::texts::tr;

impl Config {
    /// The identity providers of our authorities.
    ///
    /// # Errors
    /// A secret's file that cannot be read, or a template that is none.
    pub fn upstream(&self) -> anyhow::Result<BTreeMap<OwnedServerName, Settings>> {
        let mut all = BTreeMap::new();
        for authority in &self.authorities {
            let Some(config) = &authority.upstream else { continue };
            let secret = config.client_secret_file.as_deref().map(|file| self.secret(file)).transpose()?;
            let template = |text: &str| -> anyhow::Result<Template> {
                text.parse().map_err(|error: BadTemplate| {
                    anyhow!(tr!("{text} はひな形ではありません: {error}", "{text}: {error}"))
                })
            };
            let staff = config.staff.as_ref().map(|staff| -> anyhow::Result<StaffClaims> {
                Ok(StaffClaims {
                    number: template(&staff.number)?,
                    name: template(&staff.name)?,
                    reading: staff.reading.as_deref().map(template).transpose()?,
                    unit: template(&staff.unit)?,
                    title: staff.title.as_deref().map(template).transpose()?,
                })
            });
            let settings = Settings {
                staff: staff.transpose()?,
                issuer: config.issuer.clone(),
                client_id: config.client_id.clone(),
                client_secret: secret,
                subject: config.subject.clone(),
                scopes: config.scopes.clone(),
                localpart: template(&config.localpart)?,
                display_name: Some(template(&config.display_name)?),
                email: Some(template(&config.email)?),
                acr_values: config.acr_values.clone(),
                required_amr: config.required_amr.clone(),
                label: Label { japanese: config.label_ja.clone(), english: config.label_en.clone() },
            };
            all.insert(authority.name.clone(), settings);
        }
        Ok(all)
    }

    /// What operators enter at the providers of our authorities: where browsers come back to, and where it is told that somebody
    /// has signed out.
    pub(crate) fn addresses_for_providers(&self) -> Vec<(OwnedServerName, String, String)> {
        let with_provider = self.authorities.iter().filter(|authority| authority.upstream.is_some());
        with_provider
            .filter_map(|authority| {
                let base = authority.client_url.as_ref()?.trim_end_matches('/');
                let address = |path: &str| format!("{base}{path}");
                let (back, sign_out) =
                    (address(client::UPSTREAM_CALLBACK), address(client::UPSTREAM_SIGN_OUT));
                Some((authority.name.clone(), back, sign_out))
            })
            .collect()
    }

    /// Files with certificate authorities that certificates of providers may be of.
    pub(crate) fn upstream_ca_files(&self) -> Vec<PathBuf> {
        let files =
            self.authorities.iter().filter_map(|authority| authority.upstream.as_ref()?.ca_file.as_ref());
        files.map(|file| self.path(file)).collect()
    }
}
