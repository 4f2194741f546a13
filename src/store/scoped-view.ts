// A view whose commits hold only as long as its owner leads: each compares the leader's key as well, so that one who was stopped, cut off
// or slow and has been followed meanwhile writes nothing any more, whatever it still has under way.

import { Failure, isFailure } from '../lib/failure.ts';
import { describeKey } from './records.ts';
import type { View } from './view.ts';

export interface Fence {
  /** Key of the leader and the revision at which it was written. */
  readonly key: string;
  readonly revision: number;
  /** Told when a commit has shown that somebody else leads. */
  readonly onLost: () => void;
}

export interface ScopedView {
  readonly view: View;
  /** Nobody who listened through it hears anything more. */
  close(): void;
}

/**
 * A view for as long as somebody leads. Its commits throw `unavailable` (details.moving) when the fence holds no more; nothing was written
 * then. Without a fence they are those of the view.
 */
export function scopedView(view: View, fence: Fence | null): ScopedView {
  const listening = new Set<() => void>();
  const scoped: View = {
    get revision() {
      return view.revision;
    },
    get: (collection, id) => view.get(collection, id),
    byName: (collection, name) => view.byName(collection, name),
    list: (collection) => view.list(collection),
    by: (collection, index, value) => view.by(collection, index, value),
    onChange: (listener) => {
      const unsubscribe = view.onChange(listener);
      listening.add(unsubscribe);
      return () => {
        listening.delete(unsubscribe);
        unsubscribe();
      };
    },
    commit: fence === null ? (...operations) => view.commit(...operations) : fencedCommit(view, fence),
    trouble: () => view.trouble(),
    waitFor: (wanted, signal) => view.waitFor(wanted, signal),
  };
  return {
    view: scoped,
    close: () => {
      for (const unsubscribe of listening) unsubscribe();
      listening.clear();
    },
  };
}

function fencedCommit(view: View, { key, revision, onLost }: Fence): View['commit'] {
  const compare = { compare: [{ key, revision }], writes: [] };
  const subject = describeKey(key);
  const isFence = (details: Readonly<Record<string, unknown>> | undefined): boolean =>
    'id' in subject && details?.['collection'] === subject.collection && details['id'] === subject.id;
  return async (...operations) => {
    try {
      return await view.commit(compare, ...operations);
    } catch (error) {
      if (!isFailure(error, 'conflict') || !isFence(error.details)) throw error;
      onLost();
      throw new Failure('unavailable', {
        message: 'Another control plane leads now; nothing was changed.',
        hint: 'The same call again reaches the one that leads.',
        details: { moving: true },
        cause: error,
      });
    }
  };
}
