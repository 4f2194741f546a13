import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createHexSource, createSeededRandom } from '../lib/id.ts';
import { continueTrace, startTrace } from './trace-context.ts';

const hex = createHexSource(createSeededRandom(7));
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const VALID = /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$/u;

const go = (parent: string | readonly string[], ...states: string[]): ReturnType<typeof continueTrace> =>
  continueTrace(typeof parent === 'string' ? [parent] : parent, states, hex);

test('a valid trace goes on under a span of our own, its flags kept', () => {
  for (const flags of ['00', '01', '02', '03']) {
    const trace = go(`00-${TRACE}-${SPAN}-${flags}`);
    assert.equal(trace.traceId, TRACE);
    assert.notEqual(trace.spanId, SPAN);
    assert.equal(trace.traceparent, `00-${TRACE}-${trace.spanId}-${flags}`);
  }
});

test('flags that nobody knows are cleared', () => {
  assert.match(go(`00-${TRACE}-${SPAN}-ff`).traceparent, /-03$/u);
  assert.match(go(`00-${TRACE}-${SPAN}-fc`).traceparent, /-00$/u);
});

test('a later version is read as far as it is known, and goes on as the version that we speak', () => {
  for (const parent of [`01-${TRACE}-${SPAN}-01`, `cc-${TRACE}-${SPAN}-01-what-else`, `01-${TRACE}-${SPAN}-01-`]) {
    const trace = go(parent);
    assert.equal(trace.traceId, TRACE, parent);
    assert.match(trace.traceparent, VALID);
  }
});

test('what is not valid starts a new trace, and its state is dropped', () => {
  for (const parent of [
    '',
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE}-${SPAN}-01-`,
    `01-${TRACE}-${SPAN}-01.more`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}`,
    `00_${TRACE}_${SPAN}_01`,
    ` 00-${TRACE}-${SPAN}-01`,
  ]) {
    const trace = go(parent, 'a=1');
    assert.notEqual(trace.traceId, TRACE, parent);
    assert.equal(trace.tracestate, null, parent);
    assert.match(trace.traceparent, VALID);
  }
  assert.notEqual(go([`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01`]).traceId, TRACE);
});

test('the state goes on in order, whatever fields it came in', () => {
  const parent = `00-${TRACE}-${SPAN}-01`;
  assert.equal(go(parent, 'a=1, b=2', '\tc@x=3 ,,').tracestate, 'a=1,b=2,c@x=3');
  assert.equal(go(parent, '0tenant@sys=a b').tracestate, '0tenant@sys=a b');
  assert.equal(go(parent, '', ' ').tracestate, null);
});

test('a state that is not valid is dropped and the trace goes on', () => {
  for (const state of ['a', 'a=', '=1', 'A=1', 'a=1=2', 'a=1,a=2', 'a =1', 'a=é', `${'k'.repeat(257)}=1`, `a=${'v'.repeat(257)}`, 'é=1']) {
    const trace = go(`00-${TRACE}-${SPAN}-01`, state);
    assert.equal(trace.traceId, TRACE, state);
    assert.equal(trace.tracestate, null, state);
  }
  assert.equal(go(`00-${TRACE}-${SPAN}-01`, Array.from({ length: 33 }, (_, index) => `k${index}=1`).join(',')).tracestate, null);
});

test('a long state is shortened by whole members: long ones first, then the oldest', () => {
  const parent = `00-${TRACE}-${SPAN}-01`;
  const short = Array.from({ length: 5 }, (_, index) => `k${index}=${'v'.repeat(90)}`);
  assert.equal(go(parent, [`big=${'x'.repeat(200)}`, ...short].join(',')).tracestate, short.join(','));
  const many = Array.from({ length: 10 }, (_, index) => `k${index}=${'v'.repeat(90)}`);
  assert.equal(go(parent, many.join(',')).tracestate, many.slice(0, 5).join(','));
});

test('whatever comes in, what goes out is valid', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 80 }), { maxLength: 3 }), fc.array(fc.string({ maxLength: 700 })), (parents, states) => {
      const trace = continueTrace(parents, states, hex);
      assert.match(trace.traceparent, VALID);
      assert.ok((trace.tracestate ?? '').length <= 512);
      assert.equal(trace.traceparent.slice(3, 35), trace.traceId);
      assert.equal(trace.traceparent.slice(36, 52), trace.spanId);
    }),
  );
});

test('a new trace is sampled and random, and never the same twice', () => {
  const seen = new Set(Array.from({ length: 2_000 }, () => startTrace(hex).traceId));
  assert.equal(seen.size, 2_000);
  assert.match(startTrace(hex).traceparent, /-03$/u);
});
