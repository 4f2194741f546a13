// ETag and If-Match (RFC 9110 §8.8, §13) over the reply's own bytes: never a store revision, and the same whichever control answers.

import { createHash } from 'node:crypto';
import { Failure } from '../lib/failure.ts';

export function etagOf(body: string): string {
  return `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`;
}

function listed(header: string, etag: string): boolean {
  return header.split(',').some((part) => part.trim().replace(/^W\//u, '') === etag);
}

/** True where If-None-Match names what would be answered. */
export function notModified(header: string | undefined, etag: string): boolean {
  return header !== undefined && (header.trim() === '*' || listed(header, etag));
}

/** Throws `precondition_failed` where If-Match does not name the current version; `current` null: there is none. */
export function checkIfMatch(header: string, current: string | null): void {
  if (current !== null && (header.trim() === '*' || listed(header, current))) return;
  throw new Failure('precondition_failed', {
    message: current === null ? 'If-Match was given, but there is no such object.' : 'If-Match does not name the current version.',
    hint: 'Read the object again, and repeat the change on what it is now.',
  });
}

/** Runs tasks with an equal key one after the other, so that two If-Match writes of one object cannot both see the old version. */
export function createSerializer(): <T>(key: string, task: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return async (key, task) => {
    const before = last.get(key) ?? Promise.resolve();
    const mine = before.then(task, task);
    last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (last.get(key) === mine) last.delete(key);
    }
  };
}
