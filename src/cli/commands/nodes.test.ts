import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../lib/failure.ts';
import { changeOf } from './nodes.ts';

test('words say what a Node has to give, and an empty value takes it away', () => {
  assert.deepEqual(
    changeOf([
      'label.disk=ssd',
      'label.old=',
      'device.gpu=2',
      'device.nic=',
      'overcommit.cpu=1.5',
      'overcommit.memory=',
      'reserve=10%',
      'volumes=100Gi',
    ]),
    {
      labels: { disk: 'ssd', old: null },
      devices: { gpu: 2, nic: null },
      overcommit: { cpu: 1.5, memory: 1 },
      reserved: 0.1,
      volumeBytes: 100 * 2 ** 30,
    },
  );
  assert.deepEqual(changeOf(['reserve=0.25', 'volumes=']), { reserved: 0.25, volumeBytes: null });
  for (const word of [
    'disk=ssd',
    'label=ssd',
    'label.=x',
    'device.gpu=two',
    'overcommit.disk=2',
    'overcommit.cpu=x',
    'reserve=-1',
    'reserve.cpu=1',
    'volumes=lots',
    'label.x',
    '',
  ])
    assert.throws(
      () => changeOf([word]),
      (error) => isFailure(error, 'invalid_input'),
      word,
    );
});
