//! Files and S3 objects behind one URL: `s3://bucket/key`, `file:///folder/name` or a path.
//!
//! S3 credentials, region and endpoint come from the usual environment (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, a role of
//! the host, …). Deliberately absent: reading and writing, which is `object_store`'s.
#![forbid(unsafe_code)]

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Once};

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

/// A place in a store.
#[derive(Clone, Debug)]
pub struct Location {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// Key within it; for files the absolute path without its leading slash.
    pub path: Path,
    /// On this machine's disk: the file.
    pub file: Option<PathBuf>,
}

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Not a URL, or of a kind that is not known.
    #[error("`{location}` must be a path, `file:///…` or `s3://bucket/key`: {reason}")]
    Unusable {
        /// What was given.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// The environment does not configure S3.
    #[error("`{location}`: {source}")]
    Store {
        /// What was given.
        location: String,
        /// The store's own words.
        source: object_store::Error,
    },
}

impl Location {
    /// Finds the store; nothing is read.
    ///
    /// # Errors
    /// When the location cannot be understood, or the environment does not configure S3.
    pub fn open(location: &str) -> Result<Self, LocationError> {
        let unusable = |reason: String| LocationError::Unusable { location: location.to_owned(), reason };
        if !location.contains("://") {
            return Self::of_file(location, FilePath::new(location));
        }
        let url = Url::parse(location).map_err(|error| unusable(error.to_string()))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| unusable("it has no absolute path".to_owned()))?;
                Self::of_file(location, &path)
            }
            "s3" => {
                let (store, path) = s3(location)?;
                Ok(Self { store, path, file: None })
            }
            other => Err(unusable(format!("`{other}` is not known"))),
        }
    }

    fn of_file(location: &str, path: &FilePath) -> Result<Self, LocationError> {
        let unusable = |reason: String| LocationError::Unusable { location: location.to_owned(), reason };
        let file = std::path::absolute(path).map_err(|error| unusable(error.to_string()))?;
        let path = Path::from_absolute_path(&file).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { store: Arc::new(LocalFileSystem::new()), path, file: Some(file) })
    }

    /// A place below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let file = self.file.as_ref().map(|file| file.join(name));
        Self { store: self.store.clone(), path: self.path.clone().join(name), file }
    }
}

/// Connects to the store of an `s3://bucket/key` URL; nothing is read.
///
/// # Errors
/// When the URL names no bucket, or the environment does not configure S3.
pub fn s3(url: &str) -> Result<(Arc<dyn ObjectStore>, Path), LocationError> {
    let unusable = |reason: String| LocationError::Unusable { location: url.to_owned(), reason };
    let (bucket, key) = url
        .strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .filter(|(bucket, _)| !bucket.is_empty())
        .ok_or_else(|| unusable("it names no bucket".to_owned()))?;
    let path = Path::parse(key).map_err(|error| unusable(error.to_string()))?;
    let is_plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|endpoint| endpoint.starts_with("http://")));
    use_ring();
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_allow_http(is_plain) // who names such an endpoint means it
        .build()
        .map_err(|source| LocationError::Store { location: url.to_owned(), source })?;
    Ok((Arc::new(store), path))
}

/// TLS for S3, and for whoever else uses the same HTTP client: the library that the SDK uses too.
pub fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that somebody chose before: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_name_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b.json");
        let by_path = Location::open(file.to_str().unwrap()).unwrap();
        let by_url = Location::open(Url::from_file_path(&file).unwrap().as_str()).unwrap();
        assert_eq!(by_path.path, by_url.path);
        assert_eq!((by_path.file.as_ref(), by_url.file.as_ref()), (Some(&file), Some(&file)));
        assert_eq!(by_path.join("x").file, Some(file.join("x")));
    }

    #[test]
    fn a_location_of_no_known_kind_is_refused_by_name() {
        for (location, reason) in [("ftp://host/x", "`ftp` is not known"), ("s3:///key", "no bucket")] {
            let error = Location::open(location).unwrap_err().to_string();
            assert!(error.contains(location) && error.contains(reason), "{error}");
        }
    }
}
