//! The contexts of requests, by Envoy's numbers.
//!
//! Envoy counts up, so the newest is the last of a list, and most that go are near an end of it. One that goes from the middle
//! leaves its place empty until half of all are: so many places are moved at once as were left. A tree would do the same in six
//! kilobytes.

use std::collections::VecDeque;

/// The list.
#[derive(Debug)]
pub(crate) struct Streams<T> {
    places: VecDeque<(u32, Option<T>)>,
    empty: usize,
}

/// Empty places that are never worth moving others for.
const FEW: usize = 32;

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), empty: 0 }
    }
}

impl<T> Streams<T> {
    /// Puts one in, instead of one that has its number.
    pub(crate) fn insert(&mut self, number: u32, stream: T) {
        if self.places.back().is_none_or(|(last, _)| *last < number) {
            self.places.push_back((number, Some(stream)));
            return;
        }
        match self.place(number) {
            Ok(place) => {
                if let Some((_, there)) = self.places.get_mut(place) {
                    self.empty = self.empty.saturating_sub(there.is_none().into());
                    *there = Some(stream);
                }
            }
            Err(place) => self.places.insert(place, (number, Some(stream))),
        }
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let place = self.place(number).ok()?;
        self.places.get_mut(place)?.1.as_mut()
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let place = self.place(number).ok()?;
        let stream = self.places.get_mut(place)?.1.take()?;
        self.empty = self.empty.saturating_add(1);
        while self.places.back().is_some_and(|(_, stream)| stream.is_none()) {
            self.places.pop_back();
            self.empty = self.empty.saturating_sub(1);
        }
        while self.places.front().is_some_and(|(_, stream)| stream.is_none()) {
            self.places.pop_front();
            self.empty = self.empty.saturating_sub(1);
        }
        if self.empty > FEW && self.empty > self.places.len() / 2 {
            self.places.retain(|(_, stream)| stream.is_some());
            self.empty = 0;
        }
        // What a crowd has taken is given back.
        let room = self.places.capacity() / 2;
        if room > FEW && room / 2 > self.places.len() {
            self.places.shrink_to(room);
        }
        Some(stream)
    }

    fn place(&self, number: u32) -> Result<usize, usize> {
        self.places.binary_search_by(|(each, _)| each.cmp(&number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The same numbers in every run.
    fn chance(seed: &mut u64) -> usize {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).unwrap_or_default()
    }

    #[test]
    fn it_is_the_map_that_a_tree_is_and_never_has_many_more_places_than_streams() {
        let (mut seed, mut most) = (7, 0);
        let (mut streams, mut tree, mut next) = (Streams::default(), BTreeMap::new(), 0_u32);
        for step in 0..200_000_u32 {
            // A few thousand at first, then one in and one out, then ever fewer.
            let wanted = [3000, 3000, 100, 0][usize::try_from(step / 50_000).unwrap_or_default()];
            if tree.len() <= wanted && !chance(&mut seed).is_multiple_of(3) {
                next = next.wrapping_add(1);
                // Once in a while one that was there before, or a smaller one.
                let number = if chance(&mut seed).is_multiple_of(50) { next / 2 } else { next };
                streams.insert(number, step);
                tree.insert(number, step);
            } else if let Some((&number, _)) =
                tree.range(u32::try_from(chance(&mut seed)).unwrap() % next.max(1)..).next().or(tree.first_key_value())
            {
                assert_eq!(streams.get_mut(number), tree.get_mut(&number));
                assert_eq!(streams.remove(number), tree.remove(&number));
                assert_eq!((streams.remove(number), streams.get_mut(number)), (None, None));
            }
            assert_eq!(streams.places.len() - streams.empty, tree.len());
            assert!(streams.places.len() <= 2 * tree.len() + 2 * FEW, "{step}");
            most = most.max(streams.places.capacity());
        }
        assert_eq!(streams.places.iter().filter(|(_, stream)| stream.is_none()).count(), streams.empty);
        let left: Vec<u32> = tree.keys().copied().collect();
        assert!(left.iter().all(|number| streams.remove(*number) == tree.remove(number)));
        assert!(streams.places.is_empty() && streams.empty == 0);
        assert!(most > 3000 && streams.places.capacity() <= 4 * FEW, "{most} {}", streams.places.capacity());
    }
}
