import assert from 'node:assert/strict';
import { test } from 'node:test';
import { terminalSize } from './terminal-size.ts';

test('a size is any JSON with columns and rows, and whatever else comes is none', () => {
  const size = (text: string): unknown => terminalSize(Buffer.from(text));
  for (const text of ['{"columns":80,"rows":24}', '{ "rows": 24, "columns": 80 }', '{"columns":80,"rows":24,"title":"sh"}'])
    assert.deepEqual(size(text), { columns: 80, rows: 24 }, text);
  for (const text of [
    '',
    'null',
    '[80,24]',
    '{"columns":80}',
    '{"columns":"80","rows":24}',
    '{"columns":0,"rows":24}',
    '{"columns":8.5,"rows":24}',
  ])
    assert.equal(size(text), null, text);
  assert.equal(size('{"columns":80,"rows":1000}'), null);
});
