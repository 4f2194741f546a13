import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { dockerImages, imageSpace } from './docker-settings.ts';

test('the room of images is two percentages, or off', () => {
  for (const text of ['85,80', '85%, 80%', '100,0', '90,90']) assert.equal(dockerImages(text, '--docker-images'), text);
  assert.deepEqual(imageSpace(dockerImages('85%, 80%', '--docker-images')), { high: 85, low: 80 });
  assert.equal(imageSpace(dockerImages('off', '--docker-images')), null);
  for (const text of ['', '85', '80,85', '101,80', '85;80', '-1,-2', 'on'])
    assert.throws(
      () => dockerImages(text, '--docker-images'),
      (error) => isFailure(error, 'invalid_input'),
      text,
    );
});
