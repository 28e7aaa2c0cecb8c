//! A cache in the cache service of GitHub Actions, version 2: entries of the service are named and never change. Their
//! bytes are in a blob store, where signed URLs lead.

use std::collections::BTreeMap;
use std::io::Write;

use reqwest::Url;
use reqwest::blocking::Body;
use serde::Deserialize;
use serde_json::json;

use super::entry::MAX_ENTRY_SIZE;
use super::http::{self, Web, shown};
use super::{Backend, CacheError, Entry, Open};
use crate::digest::Digest;
use crate::oci::{Descriptor, digest_of};
use crate::text::parse_bool;

/// Bytes of the service's own answers at most.
const MAX_ANSWER: u64 = 32 << 10;

/// What the blob store takes in one request.
const MAX_UPLOAD: u64 = 5000 << 20;

/// How the service is reached. No `Debug`: the token is secret.
pub struct GhaSettings {
    url: Url,
    token: String,
    scope: String,
}

impl GhaSettings {
    /// Reads the options of a cache; what is not among them comes from `env`, as a runner of GitHub Actions sets it.
    /// `None` where there is no token: outside of GitHub Actions such a cache is not.
    ///
    /// # Errors
    /// The service's URL is none, or only that of its version 1 is known.
    pub fn new(
        options: &BTreeMap<String, String>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<GhaSettings>, String> {
        let option = |key: &str| options.get(key).filter(|value| !value.is_empty()).cloned();
        let Some(token) = option("token").or_else(|| env("ACTIONS_RUNTIME_TOKEN")) else { return Ok(None) };
        let is_v2 = match option("version") {
            Some(version) => version == "2",
            None => env("ACTIONS_CACHE_SERVICE_V2").and_then(|text| parse_bool(&text)) == Some(true),
        };
        let url = option("url_v2").or_else(|| env("ACTIONS_RESULTS_URL").filter(|_| is_v2));
        let Some(url) = url.or_else(|| option("url").filter(|_| is_v2)) else {
            let old = option("url").or_else(|| env("ACTIONS_CACHE_URL")).or_else(|| env("ACTIONS_RESULTS_URL"));
            return match old {
                Some(_) => {
                    Err("version 1 of the cache service is not spoken; set `url_v2`, or ACTIONS_CACHE_SERVICE_V2 \
                                and ACTIONS_RESULTS_URL"
                        .to_owned())
                }
                None => Ok(None),
            };
        };
        let url = Url::parse(&format!("{}/", url.trim_end_matches('/')));
        let url = url.map_err(|error| format!("the URL of the cache service is none: {error}"))?;
        let scope = option("scope").unwrap_or_else(|| "buildkit".to_owned());
        Ok(Some(GhaSettings { url, token, scope }))
    }
}

/// A cache in the service.
pub struct GhaCache {
    settings: GhaSettings,
    web: Web,
    /// What tells bake's entries from those of others.
    version: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    signed_upload_url: String,
    #[serde(default)]
    signed_download_url: String,
    #[serde(default)]
    matched_key: String,
}

impl GhaCache {
    /// The cache that `settings` say.
    pub fn new(settings: GhaSettings, web: Web) -> GhaCache {
        GhaCache { settings, web, version: Digest::of(b"bake cache 1").hex() }
    }

    fn entry_key(&self, key: &Digest) -> String {
        format!("bake-{}-{}", self.settings.scope, key.hex())
    }

    /// Calls the service; `None` where it says that what is asked for exists already, or does not.
    fn call(&self, method: &str, request: &serde_json::Value) -> Result<Option<Answer>, CacheError> {
        let path = format!("twirp/github.actions.results.api.v1.CacheService/{method}");
        let url = self.settings.url.join(&path).map_err(|error| CacheError::Malformed(error.to_string()))?;
        let what = shown("POST", &url);
        let response = self
            .web
            .send(&what, &|client| Ok(client.post(url.clone()).bearer_auth(&self.settings.token).json(request)))?;
        match response.status().as_u16() {
            404 | 409 => Ok(None),
            200 => {
                let answer: Result<Answer, _> = serde_json::from_slice(&http::body(&what, response, MAX_ANSWER)?);
                let answer = answer.map_err(|_| CacheError::Malformed(format!("{what} answered what is no answer")))?;
                Ok(answer.ok.then_some(answer))
            }
            _ => Err(http::refusal(&what, response)),
        }
    }

    /// Returns where the bytes of an entry are.
    fn find(&self, key: &str) -> Result<Option<Url>, CacheError> {
        let request = json!({ "key": key, "restore_keys": [], "version": self.version });
        let answer = self.call("GetCacheEntryDownloadURL", &request)?;
        // The service also answers with entries that only begin like that.
        let Some(answer) = answer.filter(|answer| answer.matched_key == key) else { return Ok(None) };
        signed(&answer.signed_download_url).map(Some)
    }

    fn put(&self, key: &str, size: u64, open: &Open<'_>) -> Result<(), CacheError> {
        if size > MAX_UPLOAD {
            return Err(CacheError::Malformed(format!("{key} is larger than what one request may send")));
        }
        let request = json!({ "key": key, "version": self.version });
        // It is there, or another build sends it just now.
        let Some(answer) = self.call("CreateCacheEntry", &request)? else { return Ok(()) };
        let url = signed(&answer.signed_upload_url)?;
        let what = shown("PUT", &url);
        let response = self.web.send(&what, &|client| {
            let failed = |source| CacheError::Io { what: "read a layer".to_owned(), source };
            let body = Body::sized(open().map_err(failed)?, size);
            let request = client.put(url.clone()).header("x-ms-blob-type", "BlockBlob").body(body);
            Ok(request.timeout(http::upload_time(size)))
        })?;
        if !response.status().is_success() {
            return Err(http::refusal(&what, response));
        }
        let request = json!({ "key": key, "size_bytes": size.to_string(), "version": self.version });
        match self.call("FinalizeCacheEntryUpload", &request)? {
            Some(_) => Ok(()),
            None => Err(CacheError::Malformed(format!("the cache service did not keep {key}"))),
        }
    }
}

fn signed(text: &str) -> Result<Url, CacheError> {
    // The URL's text stays here: whoever has it may read or write.
    Url::parse(text).map_err(|_| CacheError::Malformed("the cache service leads to no URL".to_owned()))
}

fn blob_key(layer: &Descriptor) -> Result<String, CacheError> {
    let digest = digest_of(layer).map_err(|error| CacheError::Malformed(error.to_string()))?;
    Ok(format!("bake-blob-{}", digest.hex()))
}

impl Backend for GhaCache {
    fn name(&self) -> String {
        format!("gha {}", self.settings.scope)
    }

    fn entry(&self, key: &Digest) -> Result<Option<Entry>, CacheError> {
        let Some(url) = self.find(&self.entry_key(key))? else { return Ok(None) };
        let what = shown("GET", &url);
        let response = self.web.send(&what, &|client| Ok(client.get(url.clone())))?;
        if !response.status().is_success() {
            return Err(http::refusal(&what, response));
        }
        let entry = Entry::parse(&http::body(&what, response, MAX_ENTRY_SIZE)?, key);
        entry.map(Some).ok_or_else(|| CacheError::Malformed(format!("{what} answered what is no entry")))
    }

    fn fetch(&self, layer: &Descriptor, out: &mut dyn Write) -> Result<(), CacheError> {
        let key = blob_key(layer)?;
        let url = self.find(&key)?.ok_or_else(|| CacheError::Malformed(format!("it has no {key}")))?;
        let what = shown("GET", &url);
        let response = self.web.send(&what, &|client| Ok(client.get(url.clone())))?;
        match response.status().is_success() {
            true => http::copy(&what, response, layer.size(), out),
            false => Err(http::refusal(&what, response)),
        }
    }

    fn put_layer(&self, layer: &Descriptor, open: &Open<'_>) -> Result<(), CacheError> {
        self.put(&blob_key(layer)?, layer.size(), open)
    }

    fn put_entry(&self, entry: &Entry) -> Result<(), CacheError> {
        let bytes = entry.to_bytes();
        let open =
            || -> std::io::Result<Box<dyn std::io::Read + Send>> { Ok(Box::new(std::io::Cursor::new(bytes.clone()))) };
        self.put(&self.entry_key(&entry.key), bytes.len() as u64, &open)
    }
}
