import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { InstancePhase, InstanceSpec } from '../../model/documents.ts';
import type { Operation } from '../../store/collection.ts';
import { create, put, remove, update } from '../../store/records.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import { aNode, anInstance, aStatus, createTestContext, seedApp } from '../test-context.ts';
import { countIn, roomOf } from './placement.ts';
import { instanceSpecRecords } from './records.ts';
import { reserve, roomsOf } from './rooms.ts';

const NODES = ['n0', 'n1', 'n2'] as const;
const IDS = Array.from({ length: 6 }, (_, index) => `i${index}`);

type Step =
  | { readonly kind: 'place'; readonly id: string; readonly node: string; readonly environment: string }
  | { readonly kind: 'drop' | 'drain' | 'release'; readonly id: string }
  | { readonly kind: 'reserve'; readonly id: string; readonly node: string }
  | { readonly kind: 'phase'; readonly id: string; readonly phase: InstancePhase }
  | { readonly kind: 'label' | 'capacity'; readonly node: string; readonly value: number };

const id = fc.constantFrom(...IDS);
const node = fc.constantFrom(...NODES);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('place' as const), id, node, environment: fc.constantFrom('environment-1', 'other') }),
  fc.record({ kind: fc.constantFrom('drop' as const, 'drain' as const, 'release' as const), id }),
  fc.record({ kind: fc.constant('reserve' as const), id: fc.constantFrom('r0', 'r1', ...IDS), node }),
  fc.record({ kind: fc.constant('phase' as const), id, phase: fc.constantFrom<InstancePhase>('running', 'failed', 'lost', 'stopped') }),
  fc.record({ kind: fc.constantFrom('label' as const, 'capacity' as const), node, value: fc.integer({ min: 1, max: 9 }) }),
);

test('what is kept is what counting anew gives, whatever happens in between', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const context = await createTestContext();
      try {
        const { view } = context;
        await seedApp(context);
        for (const name of NODES) await view.commit(create(nodeSpecRecords, aNode({ id: name, name })));
        const status = (name: string, cpu: number) =>
          put(nodeStatusRecords, {
            id: name,
            state: 'up',
            drivers: [],
            capacity: { cpu, memoryBytes: 1e9 },
            platform: { os: 'linux', arch: 'x64', program: '0' },
            bootId: '',
            lastSeenMs: 0,
          });
        const reserved = new Map<string, { readonly spec: InstanceSpec; readonly release: () => void }>();
        const reservation = (spec: InstanceSpec) => ({ spec, release: reserve(view, [spec]) });
        const operationOf = (each: Step): Operation | null => {
          switch (each.kind) {
            case 'label':
            case 'capacity': {
              const stored = view.get(nodeSpecRecords, each.node);
              if (each.kind === 'capacity') return status(each.node, each.value);
              return stored === undefined
                ? null
                : update(nodeSpecRecords, stored, { ...stored.document, labels: { zone: String(each.value) } });
            }
            case 'reserve':
              // Only what is new is placed, once.
              if (reserved.has(each.id) || view.get(instanceSpecRecords, each.id) !== undefined) return null;
              reserved.set(each.id, reservation(anInstance({ id: each.id, nodeId: each.node })));
              return null;
            case 'release':
              reserved.get(each.id)?.release();
              reserved.delete(each.id);
              return null;
            case 'phase':
              return put(instanceStatusRecords, aStatus({ id: each.id, phase: each.phase }));
            case 'place': {
              const stored = view.get(instanceSpecRecords, each.id);
              const next = reserved.get(each.id)?.spec ?? anInstance({ id: each.id, nodeId: each.node, environmentId: each.environment });
              return stored === undefined ? create(instanceSpecRecords, next) : update(instanceSpecRecords, stored, next);
            }
            case 'drop':
            case 'drain': {
              const stored = view.get(instanceSpecRecords, each.id);
              if (stored === undefined) return null;
              return each.kind === 'drop'
                ? remove(instanceSpecRecords, stored)
                : update(instanceSpecRecords, stored, { ...stored.document, draining: true });
            }
          }
        };
        for (const each of steps) {
          roomsOf(view, 'runtime-1');
          const operation = operationOf(each);
          if (operation !== null) await view.commit(operation);
          for (const except of [null, 'environment-1'] as const) {
            const anew = view.by(nodeSpecRecords, 'runtime', 'runtime-1').map(({ document }) => {
              const room = roomOf(view, document, view.get(nodeStatusRecords, document.id)?.document ?? null, except);
              for (const { spec } of reserved.values())
                if (spec.nodeId === document.id && view.get(instanceSpecRecords, spec.id) === undefined) countIn(view, room, spec, except);
              return room;
            });
            assert.deepEqual(roomsOf(view, 'runtime-1', except), anew);
          }
        }
      } finally {
        await context.close();
      }
    }),
    { numRuns: 60 },
  );
});
