from vetrina.bounded_cache import BoundedCache


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: BoundedCache[bytes] = BoundedCache(10, len)
    for key, value in {"a": b"1234", "b": b"1234"}.items():
        cache.put(key, value)
    assert cache.get("a") == b"1234"
    cache.put("c", b"12345")
    assert (cache.get("a"), cache.get("b"), cache.get("c"), cache.bytes) == (b"1234", None, b"12345", 9)
    cache.put("a", b"1")
    cache.put("large", b"12345678901")
    assert (cache.get("large"), cache.bytes, len(cache)) == (None, 6, 2)


def test_a_value_that_is_put_or_forgotten_leaves_nothing_of_the_old_one() -> None:
    cache: BoundedCache[bytes] = BoundedCache(10, len, largest=4)
    cache.put("a", b"1234")
    cache.put("a", b"12345")  # larger than one may be: the old one is not right any more either
    assert (cache.get("a"), cache.bytes) == (None, 0)
    cache.put("a", b"12")
    cache.forget("a")
    cache.forget("never here")
    assert (cache.get("a"), cache.bytes, len(cache)) == (None, 0, 0)
