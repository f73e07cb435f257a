//! The plainest zip file: everything as it is, nothing compressed.

use std::collections::BTreeMap;

/// The year 1980 begins: what a zip file has for no time.
const NO_DATE: u16 = 0x21;
/// The version of the format that is needed to read it: 2.0.
const VERSION: u16 = 20;

/// A zip file with these files in it; `None` if there are too many or they are too large for the format.
pub fn stored(files: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    let count = u16::try_from(files.len()).ok().filter(|count| *count < u16::MAX)?;
    let mut zip = Vec::with_capacity(files.values().map(|bytes| bytes.len() + 256).sum());
    let mut directory = Vec::new();
    for (name, bytes) in files {
        let offset = u32::try_from(zip.len()).ok()?;
        let entry = entry(name, bytes)?;
        zip.extend_from_slice(&0x0403_4b50_u32.to_le_bytes());
        zip.extend_from_slice(&entry);
        zip.extend_from_slice(name.as_bytes());
        zip.extend_from_slice(bytes);
        directory.extend_from_slice(&0x0201_4b50_u32.to_le_bytes());
        directory.extend_from_slice(&VERSION.to_le_bytes());
        directory.extend_from_slice(&entry);
        // No comment, on the first disk, with no attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, length) = (u32::try_from(zip.len()).ok()?, u32::try_from(directory.len()).ok()?);
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(&0x0605_4b50_u32.to_le_bytes());
    zip.extend_from_slice(&[0; 4]);
    zip.extend_from_slice(&count.to_le_bytes());
    zip.extend_from_slice(&count.to_le_bytes());
    zip.extend_from_slice(&length.to_le_bytes());
    zip.extend_from_slice(&start.to_le_bytes());
    zip.extend_from_slice(&[0; 2]);
    Some(zip)
}

/// What a file's own header and its entry in the directory have in common.
fn entry(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let size = u32::try_from(bytes.len()).ok()?.to_le_bytes();
    let mut entry = Vec::with_capacity(26);
    entry.extend_from_slice(&VERSION.to_le_bytes());
    // No flags, no compression, no time.
    entry.extend_from_slice(&[0; 6]);
    entry.extend_from_slice(&NO_DATE.to_le_bytes());
    entry.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    entry.extend_from_slice(&size);
    entry.extend_from_slice(&size);
    entry.extend_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
    entry.extend_from_slice(&[0; 2]);
    Some(entry)
}
