import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { goldenFolder, goldens } from './goldens.ts';

describe('what users see is as the golden files say (npm run golden writes them anew)', () => {
  for (const [name, make] of Object.entries(goldens)) {
    test(name, async () => {
      const expected = readFileSync(join(goldenFolder, name), 'utf8');
      const [now, before] = [(await make()).split('\n'), expected.split('\n')];
      const at = now.findIndex((line, index) => line !== before[index]);
      // The first difference says it; the whole text of both would hide it.
      if (at !== -1 || now.length !== before.length) {
        const line = at === -1 ? now.length : at;
        assert.fail(
          `${name}:${line + 1}: is ${JSON.stringify(now[line])}, was ${JSON.stringify(before[line])}; npm run golden writes it anew`,
        );
      }
    });
  }

  test('every runtime dependency has a reason', async () => {
    assert.doesNotMatch(String(await goldens['dependencies.txt']?.()), /NO REASON GIVEN/u);
  });
});
