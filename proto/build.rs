//! Compiles hume/v1/*.proto in pure Rust: building needs no protoc.

#[cfg(feature = "grpc")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=hume");
    let files = protox::compile(["hume/v1/event.proto", "hume/v1/relay.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".hume.v1.Batch.payload")
        .codec_path("crate::relay::buffers::FrameCodec")
        .compile_fds(files)?;
    Ok(())
}

#[cfg(not(feature = "grpc"))]
fn main() {}
