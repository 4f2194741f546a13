import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { InstancePhase } from '../../model/documents.ts';
import type { Operation } from '../../store/collection.ts';
import { create, put, remove, update } from '../../store/records.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import { aNode, anInstance, aStatus, createTestContext, seedApp } from '../test-context.ts';
import { roomOf } from './placement.ts';
import { instanceSpecRecords } from './records.ts';
import { roomsOf } from './rooms.ts';

const NODES = ['n0', 'n1', 'n2'] as const;
const IDS = Array.from({ length: 6 }, (_, index) => `i${index}`);

type Step =
  | { readonly kind: 'place'; readonly id: string; readonly node: string; readonly environment: string }
  | { readonly kind: 'drop' | 'drain'; readonly id: string }
  | { readonly kind: 'phase'; readonly id: string; readonly phase: InstancePhase }
  | { readonly kind: 'label' | 'capacity'; readonly node: string; readonly value: number };

const id = fc.constantFrom(...IDS);
const node = fc.constantFrom(...NODES);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('place' as const), id, node, environment: fc.constantFrom('environment-1', 'other') }),
  fc.record({ kind: fc.constantFrom('drop' as const, 'drain' as const), id }),
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
            case 'phase':
              return put(instanceStatusRecords, aStatus({ id: each.id, phase: each.phase }));
            case 'place': {
              const stored = view.get(instanceSpecRecords, each.id);
              const next = anInstance({ id: each.id, nodeId: each.node, environmentId: each.environment });
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
            const anew = view
              .by(nodeSpecRecords, 'runtime', 'runtime-1')
              .map(({ document }) => roomOf(view, document, view.get(nodeStatusRecords, document.id)?.document ?? null, except));
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
