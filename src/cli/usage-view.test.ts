import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usageCells } from './usage-view.ts';

const point = (atMs: number, cpu: number | null) => ({
  atMs,
  cpu,
  memoryBytes: 1024 * 1024,
  receivedPerSecond: null,
  sentPerSecond: null,
  readPerSecond: 0,
  writtenPerSecond: 2048,
});

test('a history is a line of bars over the time that was asked for, with gaps where nothing was measured', () => {
  const points = [point(0, 0), point(50, 0.5), point(52, 1), point(90, null), point(99, 0.25)];
  assert.deepEqual(usageCells({ stepMs: 1, points }, { sinceMs: 0, untilMs: 100 }, {}), [
    '0.25',
    '▁         █        ▃',
    '1Mi',
    '█         █       ██',
    '',
    '',
    '0/s',
    '2Ki/s',
  ]);
});

test('without any point all cells are empty, and a narrow terminal gets fewer bars', () => {
  const span = { sinceMs: 0, untilMs: 100 };
  assert.deepEqual(
    usageCells({ stepMs: 1, points: [] }, span, {}).filter((cell) => cell !== ''),
    [],
  );
  assert.equal(usageCells({ stepMs: 1, points: [point(0, 1)] }, span, { isTTY: true, columns: 80 })[1], '█       ');
});

test('a step that is longer than a bar is as many bars as it is long', () => {
  const points = [point(0, 1), point(50, 0.5)];
  assert.equal(usageCells({ stepMs: 25, points }, { sinceMs: 0, untilMs: 100 }, {})[1], '█████     ▅▅▅▅▅     ');
});
