//! `humeconfig token`: the words with which hosts join, made by the master of this machine and told once.

use std::io::{self, Write};

use hume_proto::admin::{AdminToken, AdminTokenMade, AdminTokenWish, AdminTokens};

use crate::admin::Master;
use crate::failure::Failure;
use crate::orders::{TokenArgs, TokenOrder};
use crate::report::{Report, minute};

/// Does what is asked. A new token is all that goes to `out`, for scripts; what there is to say of it goes to stderr.
pub fn run(args: &TokenArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let master = Master::of(&args.dir)?;
    let mut report = Report::default();
    match &args.order {
        TokenOrder::New { host, ttl, uses, approve } => {
            let wish =
                AdminTokenWish { host: host.clone(), ttl_s: ttl.as_secs(), uses: *uses, approve: *approve };
            let made: AdminTokenMade = master.post("/tokens", &wish)?;
            let hosts = host.as_deref().unwrap_or("any host");
            // Without stderr nobody is left to tell.
            let _ = writeln!(
                io::stderr(),
                "token {} for {hosts}, until {}; it is not shown again. On the host: humeconfig join TOKEN",
                made.id,
                minute(made.expires_at)
            );
            report.line(made.token);
        }
        TokenOrder::List { json } => {
            let listed: AdminTokens = master.get("/tokens")?;
            if *json {
                report.json(&listed);
            } else {
                report.table(
                    &["TOKEN", "HOST", "STATE", "USES LEFT", "UNTIL", "APPROVAL", "MADE BY"],
                    rows(&listed),
                );
            }
        }
        TokenOrder::Revoke { id } => {
            let _: AdminTokens =
                master.post(&format!("/tokens/{}/revoke", crate::agents::escaped(id)), &())?;
            report.line(format!("token {id} is revoked; agents that joined with it stay"));
        }
    }
    report.write(out)
}

fn rows(listed: &AdminTokens) -> Vec<Vec<String>> {
    let row = |token: &AdminToken| {
        vec![
            token.id.clone(),
            token.host.clone().unwrap_or_else(|| "any".to_owned()),
            token.state.clone(),
            token.uses_left.to_string(),
            minute(token.expires_at),
            if token.approve { "needed" } else { "no" }.to_owned(),
            token.made_by.clone(),
        ]
    };
    listed.tokens.iter().map(row).collect()
}
