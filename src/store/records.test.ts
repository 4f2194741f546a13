import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { defineCollection } from './collection.ts';
import { create, decodeRecord, guard, merge, put, remove, update } from './records.ts';

interface Thing {
  readonly id: string;
  readonly name: string | null;
  readonly version: number;
}

const things = defineCollection<Thing>({ name: 'things', uniqueName: (thing) => thing.name });
const reports = defineCollection<Thing>({ name: 'reports' });
const thing: Thing = { id: '1', name: 'one', version: 7 };
const text = '{"schema":"things","id":"1","version":1,"document":{"id":"1","name":"one","version":7}}';
const entryOf = (
  value: string,
  key = 'things/1',
): { key: string; value: string; createRevision: number; revision: number; leaseId: null } => ({
  key,
  value,
  createRevision: 1,
  revision: 1,
  leaseId: null,
});
const stored = { document: thing, revision: 5 };

describe('operations on records', () => {
  it('create a record and its name, both of which must be new', () => {
    assert.deepEqual(create(things, thing, { leaseId: 'l' }), {
      compare: [
        { key: 'things/1', revision: 0 },
        { key: 'names/things/one', revision: 0 },
      ],
      writes: [
        { kind: 'put', key: 'things/1', value: text, leaseId: 'l' },
        { kind: 'put', key: 'names/things/one', value: '1', leaseId: 'l' },
      ],
    });
    assert.equal(create(things, { ...thing, name: null }).writes.length, 1);
  });

  it('update a record under the guard of its revision, and move its name', () => {
    assert.deepEqual(
      update(things, stored, { ...thing, version: 8 }).writes.map((write) => write.key),
      ['things/1'],
    );
    const renamed = update(things, stored, { ...thing, name: 'two' });
    assert.deepEqual(renamed.compare, [
      { key: 'things/1', revision: 5 },
      { key: 'names/things/two', revision: 0 },
    ]);
    assert.deepEqual(
      renamed.writes.map((write) => `${write.kind} ${write.key}`),
      ['put things/1', 'delete names/things/one', 'put names/things/two'],
    );
    assert.deepEqual(
      update(things, stored, { ...thing, name: null }).writes.map((write) => `${write.kind} ${write.key}`),
      ['put things/1', 'delete names/things/one'],
    );
    assert.throws(
      () => update(things, stored, { ...thing, id: '2' }),
      (error) => isFailure(error, 'internal'),
    );
  });

  it('keep record and name under one lease when an update brings one', () => {
    assert.deepEqual(
      update(things, stored, thing, { leaseId: 'l' }).writes.map((write) => [write.key, write.kind === 'put' ? write.leaseId : null]),
      [
        ['things/1', 'l'],
        ['names/things/one', 'l'],
      ],
    );
  });

  it('remove a record with its name, guard without writing, and put without a guard', () => {
    assert.deepEqual(remove(things, stored), {
      compare: [{ key: 'things/1', revision: 5 }],
      writes: [
        { kind: 'delete', key: 'things/1' },
        { kind: 'delete', key: 'names/things/one' },
      ],
    });
    assert.deepEqual(guard(things, stored), { compare: [{ key: 'things/1', revision: 5 }], writes: [] });
    assert.deepEqual(put(reports, thing).compare, []);
    assert.throws(
      () => put(things, thing),
      (error) => isFailure(error, 'internal'),
    );
  });

  it('merge: equal guards count once, two writes of a key are a defect that names it, two revisions of a key a lost race', () => {
    const merged = merge([guard(things, stored), update(things, stored, thing), put(reports, thing)]);
    assert.deepEqual(merged.compare, [{ key: 'things/1', revision: 5 }]);
    assert.deepEqual(
      merged.writes.map((write) => write.key),
      ['things/1', 'reports/1'],
    );
    assert.throws(
      () => merge([update(things, stored, thing), remove(things, stored)]),
      (error) => isFailure(error, 'internal') && error.message.includes('things/1'),
    );
    assert.throws(
      () => merge([guard(things, stored), guard(things, { ...stored, revision: 6 })]),
      (error) => isFailure(error, 'conflict') && error.details?.['id'] === '1',
    );
  });
});

describe('stored documents', () => {
  const grown = defineCollection<{ readonly id: string; readonly full: string; readonly size: number }>({
    name: 'things',
    version: 3,
    upgrades: {
      1: ({ name, ...rest }) => ({ ...rest, title: name }),
      2: ({ title, ...rest }) => ({ ...rest, full: `the ${String(title)}`, size: 0 }),
    },
  });

  it('are read back as they were written', () => {
    assert.deepEqual(decodeRecord(things, entryOf(text)), thing);
  });

  it('of an older version go through every upgrade since', () => {
    assert.deepEqual(decodeRecord(grown, entryOf(text)), { id: '1', version: 7, full: 'the one', size: 0 });
  });

  it('of a newer version are refused as data_newer', () => {
    const newer = entryOf('{"schema":"things","id":"1","version":4,"document":{}}');
    assert.throws(
      () => decodeRecord(grown, newer),
      (error) => isFailure(error, 'data_newer') && error.message.includes('things/1'),
    );
  });

  it('without a needed upgrade are a defect', () => {
    const gap = defineCollection<Thing>({ name: 'things', version: 2 });
    assert.throws(
      () => decodeRecord(gap, entryOf(text)),
      (error) => isFailure(error, 'internal'),
    );
  });

  it('that are damaged or belong elsewhere are refused', () => {
    const broken = [
      '',
      '{',
      '[]',
      'null',
      '{"schema":"things"}',
      text.replace('things', 'others'),
      text.replace('"version":1', '"version":0'),
    ];
    for (const value of [...broken, text.replace('"version":1', '"version":"1"')]) {
      assert.throws(
        () => decodeRecord(things, entryOf(value)),
        (error) => isFailure(error, 'storage_failed') && error.message.includes('things/1'),
      );
    }
    assert.throws(
      () => decodeRecord(things, entryOf(text, 'things/2')),
      (error) => isFailure(error, 'storage_failed'),
    );
  });
});
