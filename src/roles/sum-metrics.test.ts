import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sumMetrics } from './sum-metrics.ts';

const page = (requests: number, connections: number, more = ''): string =>
  `# HELP requests Requests.\n# TYPE requests counter\nrequests{code="200",path="a b"} ${requests}\n${more}# HELP connections Open.\n# TYPE connections gauge\nconnections ${connections}\n`;

test('counters are added up, gauges keep their worker', () => {
  const text = sumMetrics(
    new Map([
      ['0', page(2, 5)],
      ['1', page(3, 7, 'requests{code="500",path=""} 1\n')],
      ['2', ''],
    ]),
  );
  assert.equal(
    text,
    '# HELP requests Requests.\n# TYPE requests counter\nrequests{code="200",path="a b"} 5\nrequests{code="500",path=""} 1\n' +
      '# HELP connections Open.\n# TYPE connections gauge\nconnections{worker="0"} 5\nconnections{worker="1"} 7\n',
  );
});

test('without an answer of anybody there is nothing', () => {
  assert.equal(sumMetrics(new Map([['0', '']])), '');
});
