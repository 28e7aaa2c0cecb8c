//! Flags of `login` and `logout`.

use clap::Args;

use crate::commands::login::LoginRequest;

/// Flags of `login`.
#[derive(Debug, Args)]
pub struct LoginFlags {
    /// Registry as HOST or HOST:PORT [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// User name [default: asked for]
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

impl LoginFlags {
    /// Returns what is asked for.
    pub fn request(self) -> LoginRequest {
        LoginRequest { registry: self.registry, user: self.username, is_password_stdin: self.password_stdin }
    }
}

/// Flags of `logout`.
#[derive(Debug, Args)]
pub struct LogoutFlags {
    /// Registry as HOST or HOST:PORT [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
}
