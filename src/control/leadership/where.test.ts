import assert from 'node:assert/strict';
import { test } from 'node:test';
import { table } from '../../api/table.ts';
import type { Endpoint } from '../../api/endpoint.ts';
import { isFailure } from '../../lib/failure.ts';
import { FORWARDED } from './peer.ts';
import { elsewhere, LEADER_READS, OWN_CALLS } from './where.ts';

const calls: readonly { readonly name: string; readonly endpoint: Endpoint }[] = Object.entries(table).flatMap(([noun, verbs]) =>
  Object.entries(verbs).map(([verb, endpoint]) => ({ name: `${noun}.${verb}`, endpoint: endpoint as Endpoint })),
);
const leader = { peer: { id: 'n', url: 'http://127.0.0.1:1' }, moved: new AbortController().signal };
const known = { elsewhere: () => leader };
const unknown = { elsewhere: () => null };

test('every name that the lists hold is an endpoint', () => {
  for (const name of [...LEADER_READS, ...OWN_CALLS]) {
    const noun = name.endsWith('.*') ? name.slice(0, -1) : null;
    assert.ok(
      calls.some((call) => (noun === null ? call.name === name : call.name.startsWith(noun))),
      name,
    );
  }
});

test('whatever changes the platform is answered by the one that leads, and nothing else but what only that one knows', () => {
  for (const call of calls) {
    const there = elsewhere(known, false, call, {}) !== null;
    const isWrite = call.endpoint.method !== 'GET' && !OWN_CALLS.has(call.name);
    const isKnownThere = [...LEADER_READS].some(
      (name) => name === call.name || (name.endsWith('*') && call.name.startsWith(name.slice(0, -1))),
    );
    assert.equal(there, isWrite || isKnownThere, call.name);
    assert.equal(elsewhere(known, true, call, {}), null, `${call.name} where it leads itself`);
  }
});

test('where none leads, or a call comes from another control plane, reads are answered from the own view and the rest is refused', () => {
  for (const call of calls) {
    for (const [leadership, headers] of [
      [unknown, {}],
      [known, { [FORWARDED]: '1' }],
    ] as const) {
      if (elsewhere(known, false, call, {}) === null || (call.endpoint.kind === 'json' && call.endpoint.method === 'GET')) {
        assert.equal(elsewhere(leadership, false, call, headers), null, call.name);
      } else {
        assert.throws(
          () => elsewhere(leadership, false, call, headers),
          (error) => isFailure(error, 'unavailable') && error.details?.['moving'] === true && error.details['untouched'] === true,
          call.name,
        );
      }
    }
  }
});
