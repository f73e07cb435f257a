//! What sealing promises, and the stored forms as another implementation computes them.

use super::*;
use crate::sealing::Part;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

const DATA_KEY: [u8; 32] = [0x11; 32];

fn master(byte: u8) -> MasterKey {
    MasterKey::from_base64(&STANDARD.encode([byte; 32])).unwrap()
}

fn ring() -> (KeyRing, StoredKeys) {
    KeyRing::create(master(1), &SystemRandom::new()).unwrap()
}

fn item(event: u128, part: Part) -> Item {
    Item { event: Uuid::from_u128(event), part }
}

/// A ring of which every key is known.
fn fixed_ring() -> KeyRing {
    let key = |byte| LongLived::new(Zeroizing::new([byte; 32]));
    let kept = Kept { salt: [9; 16], pepper: key(2), claim: key(3), snapshot: key(4) };
    KeyRing { current: Master::of(master(1)), previous: None, kept: Arc::new(kept) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn the_stored_forms_are_for_ever() {
    // Computed by another implementation (Python's hmac and cryptography) from the module's page.
    let ring = fixed_ring();
    let item = item(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, Part::Secret);
    let sealed = ring.seal(&item, b"plaintext", &DATA_KEY);
    let answer = ring.seal_answer(&item, "key", b"plaintext", &DATA_KEY);
    let stored = ring.kept.wrapped(&ring.current).to_bytes();
    let id = item.event;
    assert_eq!(
        hex(&sealed.wrapped_key),
        "017358b4281d353481ba6109aaf36fed72b3f8d0d1b6bf441d962f475344b87055b1620c4ffb46ab5a763f30bc2953a73d978dfb91"
    );
    assert_eq!(hex(&sealed.ciphertext), "b4a67f0e8fdbf8e175e3bd5efe7f11c7e0e99c5aa4fdedcc44");
    assert_eq!(answer.wrapped_key, sealed.wrapped_key);
    assert_eq!(hex(&answer.ciphertext), "8bd8839c79b30a47cace4359d75199789dc3776195e1b3f46e");
    assert_eq!(
        hex(&ring.digest(id, "secret")),
        "084efe42dea28c93a74e72fa6d2ad5fb01dfc3efaac04662a67f22c342caf6b3"
    );
    assert_eq!(
        hex(&ring.claim(id, "key")),
        "d6a55e656502a87354d94d27ffe08329619ef3302bf417631694f3e25789f629"
    );
    assert_eq!(
        hex(&ring.mac(&[b"snap", b"shot"])),
        "9cfed644324b023ed2c5368816e66a7da539fe86a59374e876268cfc9670a74f"
    );
    assert_eq!(
        hex(&Sealed { wrapped_key: Vec::new(), ciphertext: stored }.sha256()),
        "2bbc307f301fd6ae921d207be0aa897024565c3c11d66f677228e1e868589248"
    );
}

#[test]
fn a_ring_opens_again_with_its_master_key_and_no_other() {
    let (ring, stored) = ring();
    let bytes = stored.to_bytes();
    assert_eq!(bytes.len(), 165);
    let stored = StoredKeys::from_bytes(&bytes).unwrap();
    assert_eq!(stored.master_key_id(), master(1).id());
    let again = KeyRing::open(master(1), &stored).unwrap();
    let id = Uuid::from_u128(7);
    assert_eq!(again.digest(id, "s"), ring.digest(id, "s"));
    assert_eq!(again.claim(id, "s"), ring.claim(id, "s"));
    assert_eq!(again.mac(&[b"s"]), ring.mac(&[b"s"]));

    let error = KeyRing::open(master(2), &stored).unwrap_err();
    assert_eq!(error, SealError::WrongMasterKey);
    assert!(error.to_string().contains("ROTA_MASTER_KEY"), "{error}");
    // Also when the id happens to be the same.
    let forged = StoredKeys { master: master(2).id(), ..stored };
    assert_eq!(KeyRing::open(master(2), &forged).unwrap_err(), SealError::WrongMasterKey);
}

#[test]
fn stored_keys_that_were_altered_swapped_or_cut_do_not_open() {
    let (_, stored) = ring();
    let bytes = stored.to_bytes();
    for at in 0..bytes.len() {
        assert!(StoredKeys::from_bytes(&bytes[..at]).is_err());
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let opened = StoredKeys::from_bytes(&altered).and_then(|keys| KeyRing::open(master(1), &keys));
        let expected = if at == 0 { SealError::UnknownFormat } else { SealError::WrongMasterKey };
        assert_eq!(opened.unwrap_err(), expected, "byte {at}");
    }
    assert!(StoredKeys::from_bytes(&[bytes, vec![0]].concat()).is_err());
    let swapped = StoredKeys { pepper: stored.claim, claim: stored.pepper, ..stored };
    assert_eq!(KeyRing::open(master(1), &swapped).unwrap_err(), SealError::WrongMasterKey);
}

#[test]
fn two_stores_under_one_master_key_share_no_key() {
    let ((one, stored_one), (two, stored_two)) = (ring(), ring());
    let id = Uuid::from_u128(7);
    assert_ne!(one.digest(id, "s"), two.digest(id, "s"));
    let mixed = StoredKeys { pepper: stored_two.pepper, ..stored_one };
    assert_eq!(KeyRing::open(master(1), &mixed).unwrap_err(), SealError::WrongMasterKey);
}

#[test]
fn a_digest_is_of_one_credential_one_secret_and_one_use() {
    let (ring, _) = ring();
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let all = [ring.digest(a, "s"), ring.digest(b, "s"), ring.digest(a, "t"), ring.claim(a, "s")];
    for (i, one) in all.iter().enumerate() {
        for (j, other) in all.iter().enumerate() {
            assert_eq!(crate::sealing::same(one, other), i == j);
        }
    }
    assert_ne!(ring.claim(a, "s"), ring.claim(b, "s"));
}

#[test]
fn a_snapshot_mac_does_not_depend_on_how_the_bytes_come() {
    let (ring, _) = ring();
    let mut mac = ring.snapshot_mac();
    mac.update(b"ab");
    mac.update(b"");
    mac.update(b"c");
    assert_eq!(mac.clone().finish(), ring.mac(&[b"abc"]));
    assert!(mac.clone().verify(&ring.mac(&[b"a", b"bc"])));
    assert!(!mac.verify(&ring.mac(&[b"abd"])));
}

#[test]
fn an_item_opens_as_itself_and_as_no_other() {
    let (ring, _) = ring();
    let own = item(1, Part::Secret);
    let sealed = ring.seal(&own, b"plaintext", &DATA_KEY);
    assert_eq!(*ring.open_sealed(&own, &sealed).unwrap(), b"plaintext");
    assert_eq!(*ring.open_sealed(&own, &ring.seal(&own, b"", &DATA_KEY)).unwrap(), b"");
    assert!(!sealed.ciphertext.windows(5).any(|w| w == b"plain"));
    for other in [item(2, Part::Secret), item(1, Part::Answer), item(1, Part::Details)] {
        assert_eq!(ring.open_sealed(&other, &sealed).unwrap_err(), SealError::DoesNotOpen);
        // Nor does its ciphertext under a data key that was wrapped for the other.
        let wrapped_key = ring.seal(&other, b"", &DATA_KEY).wrapped_key;
        let moved = Sealed { wrapped_key, ciphertext: sealed.ciphertext.clone() };
        assert_eq!(ring.open_sealed(&other, &moved).unwrap_err(), SealError::DoesNotOpen);
    }
    let foreign = ring.seal(&own, b"plaintext", &[0x22; 32]);
    let mixed = Sealed { wrapped_key: foreign.wrapped_key, ..sealed };
    assert_eq!(ring.open_sealed(&own, &mixed).unwrap_err(), SealError::DoesNotOpen);
}

#[test]
fn no_bit_of_a_sealed_item_can_be_turned() {
    let (ring, _) = ring();
    let item = item(1, Part::Secret);
    let sealed = ring.seal(&item, b"plaintext", &DATA_KEY);
    for bit in 0..sealed.ciphertext.len() * 8 {
        let mut altered = sealed.clone();
        altered.ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ring.open_sealed(&item, &altered).unwrap_err(), SealError::DoesNotOpen);
        assert_ne!(altered.sha256(), sealed.sha256());
    }
    for bit in 0..sealed.wrapped_key.len() * 8 {
        let mut altered = sealed.clone();
        altered.wrapped_key[bit / 8] ^= 1 << (bit % 8);
        let error = ring.open_sealed(&item, &altered).unwrap_err();
        match bit / 8 {
            0 => assert_eq!(error, SealError::UnknownFormat),
            1..5 => assert!(matches!(error, SealError::OtherMasterKey { .. })),
            _ => assert_eq!(error, SealError::DoesNotOpen),
        }
    }
}

#[test]
fn a_shredded_item_keeps_its_digest_and_does_not_open() {
    let (ring, _) = ring();
    let item = item(1, Part::Secret);
    let sealed = ring.seal(&item, b"plaintext", &DATA_KEY);
    let shredded = Sealed { wrapped_key: Vec::new(), ..sealed.clone() };
    assert_eq!(shredded.sha256(), sealed.sha256());
    assert_eq!(ring.open_sealed(&item, &shredded).unwrap_err(), SealError::UnknownFormat);
}

#[test]
fn an_answer_opens_only_with_its_idempotency_key() {
    let (ring, _) = ring();
    let item = item(1, Part::Answer);
    let sealed = ring.seal_answer(&item, "key-1", b"answer", &DATA_KEY);
    assert_eq!(*ring.open_answer(&item, "key-1", &sealed).unwrap(), b"answer");
    for other in ["key-2", "", "key-1 "] {
        assert_eq!(ring.open_answer(&item, other, &sealed).unwrap_err(), SealError::DoesNotOpen);
    }
    assert_eq!(ring.open_sealed(&item, &sealed).unwrap_err(), SealError::DoesNotOpen);
    let plain = ring.seal(&item, b"answer", &DATA_KEY);
    assert_eq!(ring.open_answer(&item, "key-1", &plain).unwrap_err(), SealError::DoesNotOpen);
    let elsewhere = Item { event: Uuid::from_u128(2), ..item };
    assert_eq!(ring.open_answer(&elsewhere, "key-1", &sealed).unwrap_err(), SealError::DoesNotOpen);
}

#[test]
fn rewrapping_changes_the_master_key_and_nothing_else() {
    let (old, _) = ring();
    let (item, answer_item) = (item(1, Part::Secret), item(1, Part::Answer));
    let mut sealed = old.seal(&item, b"plaintext", &DATA_KEY);
    let mut answer = old.seal_answer(&answer_item, "key", b"answer", &[0x22; 32]);
    let (sum, id) = (sealed.sha256(), Uuid::from_u128(7));

    let (both, stored) = old.rewrapped(master(2)).unwrap();
    assert_eq!(both.digest(id, "s"), old.digest(id, "s"));
    assert_eq!(both.claim(id, "s"), old.claim(id, "s"));
    assert_eq!(both.mac(&[b"s"]), old.mac(&[b"s"]));
    assert_eq!(*both.open_sealed(&item, &sealed).unwrap(), b"plaintext");

    // Before: only the old key opens it. A ring that lacks the key says which one it is.
    let missing = SealError::OtherMasterKey { id: master(1).id() };
    let new = both.retire_previous();
    assert_eq!(new.open_sealed(&item, &sealed).unwrap_err(), missing);
    assert_eq!(new.rewrap(&item, &sealed.wrapped_key).unwrap_err(), missing);
    assert!(missing.to_string().contains(&hex(&master(1).id())), "{missing}");

    // A swapped item is not carried over.
    assert_eq!(both.rewrap(&answer_item, &sealed.wrapped_key).unwrap_err(), SealError::DoesNotOpen);
    sealed.wrapped_key = both.rewrap(&item, &sealed.wrapped_key).unwrap().unwrap();
    answer.wrapped_key = both.rewrap(&answer_item, &answer.wrapped_key).unwrap().unwrap();
    assert_eq!(both.rewrap(&item, &sealed.wrapped_key).unwrap(), None);
    assert_eq!(sealed.sha256(), sum);

    // After: only the new key does.
    assert_eq!(KeyRing::open(master(1), &stored).unwrap_err(), SealError::WrongMasterKey);
    let reopened = KeyRing::open(master(2), &stored).unwrap();
    for ring in [&both, &new, &reopened] {
        assert_eq!(ring.digest(id, "s"), old.digest(id, "s"));
        assert_eq!(*ring.open_sealed(&item, &sealed).unwrap(), b"plaintext");
        assert_eq!(*ring.open_answer(&answer_item, "key", &answer).unwrap(), b"answer");
    }
    assert!(old.open_sealed(&item, &sealed).is_err());
}

#[test]
fn a_rewrap_that_was_cut_short_goes_on() {
    let (old, stored_old) = ring();
    let (first, second) = (item(1, Part::Secret), item(2, Part::Secret));
    let mut done = old.seal(&first, b"first", &DATA_KEY);
    let left = old.seal(&second, b"second", &[0x22; 32]);
    let (both, stored_new) = old.rewrapped(master(2)).unwrap();
    done.wrapped_key = both.rewrap(&first, &done.wrapped_key).unwrap().unwrap();

    let before = KeyRing::open(master(1), &stored_old).unwrap().rewrapped(master(2)).unwrap();
    let after = KeyRing::open(master(2), &stored_new).unwrap().with_previous(master(1)).unwrap();
    assert_eq!(before.1, stored_new);
    for ring in [before.0, after] {
        assert_eq!(ring.rewrap(&first, &done.wrapped_key).unwrap(), None);
        assert!(ring.rewrap(&second, &left.wrapped_key).unwrap().is_some());
        assert_eq!(*ring.open_sealed(&first, &done).unwrap(), b"first");
        assert_eq!(*ring.open_sealed(&second, &left).unwrap(), b"second");
    }
    assert_eq!(old.rewrapped(master(1)).unwrap_err(), SealError::SameMasterKey);
    assert_eq!(old.with_previous(master(1)).unwrap_err(), SealError::SameMasterKey);
}

#[test]
fn debug_prints_no_key_byte() {
    let ring = fixed_ring().with_previous(master(5)).unwrap();
    let sealed = ring.seal(&item(1, Part::Secret), b"plaintext", &DATA_KEY);
    let id = |byte| hex(&master(byte).id());
    assert_eq!(
        format!("{ring:?}"),
        format!("KeyRing {{ master: {}, previous: Some({}), .. }}", id(1), id(5))
    );
    assert_eq!(
        format!("{:?}", ring.kept.wrapped(&ring.current)),
        format!("StoredKeys {{ master: {}, .. }}", id(1))
    );
    assert_eq!(format!("{sealed:?}"), "Sealed { wrapped_key_bytes: 53, ciphertext_bytes: 25 }");
    assert_eq!(format!("{:?}", ring.snapshot_mac()), "SnapshotMac { .. }");
}

#[test]
fn a_ring_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<KeyRing>();
}

proptest! {
    #[test]
    fn no_stored_bytes_make_it_panic(
        wrapped_key in proptest::collection::vec(any::<u8>(), 0..80),
        ciphertext in proptest::collection::vec(any::<u8>(), 0..80),
        proper in any::<bool>(),
    ) {
        let ring = fixed_ring();
        let mut wrapped_key = wrapped_key;
        if proper {
            // A right header, to get past it.
            wrapped_key.splice(0..wrapped_key.len().min(5), [&[FORMAT][..], &ring.current.id].concat());
            wrapped_key.resize(53, 0);
        }
        let item = item(1, Part::Secret);
        let sealed = Sealed { wrapped_key, ciphertext };
        prop_assert!(ring.open_sealed(&item, &sealed).is_err());
        prop_assert!(ring.open_answer(&item, "key", &sealed).is_err());
        prop_assert!(!matches!(ring.rewrap(&item, &sealed.wrapped_key), Ok(Some(_))));
        prop_assert!(StoredKeys::from_bytes(&sealed.wrapped_key).is_err());
    }

    #[test]
    fn what_was_sealed_opens(
        event in any::<u128>(),
        random in any::<[u8; 32]>(),
        key in ".{0,40}",
        plaintext in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let ring = fixed_ring();
        let item = item(event, Part::Answer);
        let sealed = ring.seal(&item, &plaintext, &random);
        prop_assert_eq!(&*ring.open_sealed(&item, &sealed).unwrap(), &plaintext);
        let sealed = ring.seal_answer(&item, &key, &plaintext, &random);
        prop_assert_eq!(&*ring.open_answer(&item, &key, &sealed).unwrap(), &plaintext);
    }
}
