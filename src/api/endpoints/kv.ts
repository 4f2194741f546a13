// librad.kv: keys and values of the Environment that calls. Only Instances may, so there is no App and no Environment in a path.

import { KEY_NAME, KEY_NAME_WORDS, KEY_PREFIX } from '../../model/key-name.ts';
import { endpoint, page, pageQuery } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';

/** A value of the largest size, whatever it is made of, as JSON. */
const BODY_BYTES = 512 * 1024;

const keyShape = (z: Z) => z.string().regex(KEY_NAME, KEY_NAME_WORDS);
export const prefixShape = (z: Z) => z.string().regex(KEY_PREFIX, KEY_NAME_WORDS);

const versionShape = (z: Z) => z.string().min(1).max(60);
const lockProofShape = (z: Z) => z.object({ name: keyShape(z), fence: z.number().int().min(1) });

const entryShape = (z: Z) =>
  z.object({
    key: z.string(),
    /** null where a list was asked for without values. */
    value: z.string().nullable(),
    encoding: z.enum(['text', 'base64']),
    /** Another one after every change; what a compare-and-set names. */
    version: z.string(),
    /** null: it stays until it is deleted. */
    expiresAtMs: z.number().nullable(),
    updatedAtMs: z.number(),
  });

export const kv = {
  list: endpoint({
    method: 'GET',
    path: '/v1/librad/kv/keys',
    summary: 'Keys of the own Environment that begin with a prefix, in order; a page may be shorter than asked where values are long.',
    permission: 'librad.kv',
    scope: 'none',
    query: (z) => pageQuery(z).extend({ prefix: prefixShape(z).default(''), values: z.enum(['true', 'false']).default('true') }),
    reply: (z) => page(z, entryShape(z)),
    errors: ['unavailable'],
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/librad/kv/keys/{key}',
    summary: 'The value of a key. Linearizable.',
    permission: 'librad.kv',
    scope: 'none',
    reply: (z) => entryShape(z),
    errors: ['not_found', 'unavailable'],
  }),
  put: endpoint({
    method: 'PUT',
    path: '/v1/librad/kv/keys/{key}',
    summary: 'Sets a key: always, only at a version (`ifVersion`; null: only where there is none), only while a lock is held (`lock`).',
    permission: 'librad.kv',
    scope: 'none',
    body: (z) =>
      z.object({
        value: z.string(),
        encoding: z.enum(['text', 'base64']).default('text'),
        /** It is deleted after so long; absent: it stays. */
        ttlMs: z
          .number()
          .int()
          .min(1000)
          .max(366 * 24 * 3_600_000)
          .optional(),
        ifVersion: versionShape(z).nullable().optional(),
        lock: lockProofShape(z).optional(),
      }),
    reply: (z) => entryShape(z).omit({ value: true, encoding: true }),
    errors: ['precondition_failed', 'too_large', 'conflict', 'unavailable'],
    bodyLimitBytes: BODY_BYTES,
    comparesItself: true,
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/librad/kv/keys/{key}',
    summary: 'Deletes a key: always, only at a version, only while a lock is held. Says whether there was one.',
    permission: 'librad.kv',
    scope: 'none',
    query: (z) =>
      z.object({
        ifVersion: versionShape(z).optional(),
        lock: keyShape(z).optional(),
        fence: z.coerce.number().int().min(1).optional(),
      }),
    reply: (z) => z.object({ deleted: z.boolean() }),
    errors: ['precondition_failed', 'conflict', 'unavailable'],
    comparesItself: true,
  }),
  watch: endpoint({
    method: 'GET',
    path: '/v1/librad/kv/watch',
    kind: 'sse',
    summary:
      'What there is, `synced`, then every change in its order, once. With Last-Event-ID only what came after; `compacted` where that is no longer kept.',
    permission: 'librad.kv',
    scope: 'none',
    query: (z) => z.object({ prefix: prefixShape(z).default(''), key: keyShape(z).optional() }),
    reply: (z) =>
      z.discriminatedUnion('kind', [
        entryShape(z).extend({ kind: z.literal('put') }),
        z.object({ kind: z.literal('delete'), key: z.string() }),
        /** Everything up to here has been told; comes again while nothing happens, so that an id never grows old. */
        z.object({ kind: z.literal('synced') }),
      ]),
    errors: ['compacted', 'unavailable'],
  }),
  usage: endpoint({
    method: 'GET',
    path: '/v1/librad/kv/usage',
    summary: 'What the own Environment holds, and what it may.',
    permission: 'librad.kv',
    scope: 'none',
    reply: (z) =>
      z.object({
        keys: z.number(),
        maxKeys: z.number(),
        /** Of keys and values. */
        bytes: z.number(),
        maxBytes: z.number(),
        maxValueBytes: z.number(),
      }),
    errors: ['unavailable'],
  }),
};
