import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { goldenFolder, goldens } from './goldens.ts';

describe('what users see is as the golden files say (npm run golden writes them anew)', () => {
  for (const [name, make] of Object.entries(goldens)) {
    test(name, async () => {
      const expected = readFileSync(join(goldenFolder, name), 'utf8');
      assert.equal(await make(), expected);
    });
  }

  test('every runtime dependency has a reason', async () => {
    assert.doesNotMatch(String(await goldens['dependencies.txt']?.()), /NO REASON GIVEN/u);
  });
});
