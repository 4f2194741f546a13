// Every kind of record that the view holds in memory: all that the platform keeps in its store but the values that Apps keep under keys.

import type { AnyCollection } from '../store/collection.ts';
import { appRecords, releaseRecords } from './apps/records.ts';
import { hostGrantRecords, teamRecords, tokenRecords } from './auth/records.ts';
import { buildCacheRecords } from './builds/records.ts';
import { instanceStatusRecords, invitationRecords, nodeSpecRecords, nodeStatusRecords, runtimeRecords } from './cluster/records.ts';
import { configValueRecords } from './config/records.ts';
import { acmeAccountRecords, authorityRecords, domainRecords } from './certificates/records.ts';
import {
  deploymentRecords,
  deploymentStatusRecords,
  environmentRecords,
  instanceSpecRecords,
  placingMarkRecords,
} from './deploys/records.ts';
import { sessionRecords } from './dev/records.ts';
import { eventRecords } from './events/records.ts';
import { controlPlaneRecords, leaderRecords } from './leadership/records.ts';
import { lockCounterRecords, lockRecords } from './librad/records.ts';

export const allCollections: readonly AnyCollection[] = [
  teamRecords,
  tokenRecords,
  hostGrantRecords,
  appRecords,
  releaseRecords,
  buildCacheRecords,
  environmentRecords,
  deploymentRecords,
  deploymentStatusRecords,
  instanceSpecRecords,
  placingMarkRecords,
  instanceStatusRecords,
  runtimeRecords,
  nodeSpecRecords,
  invitationRecords,
  nodeStatusRecords,
  configValueRecords,
  sessionRecords,
  eventRecords,
  authorityRecords,
  acmeAccountRecords,
  domainRecords,
  controlPlaneRecords,
  leaderRecords,
  lockRecords,
  lockCounterRecords,
];
