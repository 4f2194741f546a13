import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { referenceFolder, references } from '../../scripts/reference.ts';
import { goldenFolder, goldens } from './goldens.ts';

describe('what users see is as the golden files say (npm run golden writes them anew)', () => {
  for (const [folder, texts] of [
    [goldenFolder, goldens],
    [referenceFolder, references],
  ] as const) {
    for (const [name, make] of Object.entries(texts)) {
      test(name, async () => {
        const expected = readFileSync(join(folder, name), 'utf8');
        assert.equal(await make(), expected);
      });
    }
  }

  test('the reference has no page that nothing makes', () => {
    assert.deepEqual(readdirSync(referenceFolder).sort(), Object.keys(references).sort());
  });

  test('every runtime dependency has a reason', async () => {
    assert.doesNotMatch(String(await goldens['dependencies.txt']?.()), /NO REASON GIVEN/u);
  });
});
