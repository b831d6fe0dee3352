//! Where stories are told: a fresh database each, of SQLite or of a throw-away PostgreSQL cluster.

use std::path::PathBuf;

use callgate_store::{Settings, Store};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Row};

use crate::cluster::Cluster;

/// A database of its own.
pub(crate) struct House {
    pub(crate) settings: Settings,
    /// Removes the file with the house.
    _folder: Option<tempfile::TempDir>,
}

impl House {
    /// A file in a new folder.
    pub(crate) fn sqlite() -> Self {
        // In memory where there is such a folder: stories kill no machine, and thousands of them
        // would wait for the disk most of the time.
        let shared = std::path::Path::new("/dev/shm");
        let folder = match tempfile::tempdir_in(shared) {
            Ok(folder) => folder,
            Err(_) => tempfile::tempdir().unwrap(),
        };
        let path = folder.path().join("store.db");
        let url = format!("sqlite://{}", path.display());
        let settings = Settings { url, ..Settings::default() };
        Self { settings, _folder: Some(folder) }
    }

    /// A database of the cluster; `None` where there is no PostgreSQL on this machine.
    pub(crate) async fn postgres() -> Option<Self> {
        let url = Cluster::shared()?.database().await;
        let settings = Settings { url, ..Settings::default() };
        Some(Self { settings, _folder: None })
    }

    /// A database that somebody else made.
    pub(crate) fn at(url: String) -> Self {
        let settings = Settings { url, ..Settings::default() };
        Self { settings, _folder: None }
    }

    /// The file of a house with SQLite.
    pub(crate) fn file(&self) -> PathBuf {
        PathBuf::from(self.settings.url.strip_prefix("sqlite://").unwrap())
    }

    /// Opens the store; a second one is another host.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.settings).await.unwrap()
    }

    /// Opens the store with a change to its settings.
    pub(crate) async fn open_with(&self, change: impl FnOnce(&mut Settings)) -> Store {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Store::open(&settings).await.unwrap()
    }

    /// A whole number out of the database, behind the store's back.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.settings.url).await.unwrap();
        let row = sqlx::query::<Any>(sql).fetch_one(&mut connection).await.unwrap();
        let number = row.try_get(0).unwrap();
        connection.close().await.unwrap();
        number
    }

    /// Tries statements behind the store's back; why they were refused.
    pub(crate) async fn try_execute(&self, sql: &'static str) -> Result<(), String> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.settings.url).await.unwrap();
        let ran = sqlx::raw_sql(sql).execute(&mut connection).await;
        connection.close().await.unwrap();
        ran.map(drop).map_err(|error| error.to_string())
    }

    /// Runs statements behind the store's back.
    pub(crate) async fn execute(&self, sql: &'static str) {
        self.execute_text(sql.to_owned()).await;
    }

    /// The same with a text that was put together.
    pub(crate) async fn execute_text(&self, sql: String) {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.settings.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}
