// Records of finished builds by input.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { BuildCacheEntry } from '../../model/documents.ts';

export const buildCacheRecords: Collection<BuildCacheEntry> = defineCollection<BuildCacheEntry>({ name: 'build-cache' });
