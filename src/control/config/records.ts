// Records of env values and Secrets, a record per version.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { ConfigValue } from '../../model/documents.ts';

export const configValueRecords: Collection<ConfigValue> = defineCollection<ConfigValue>({
  name: 'values',
  uniqueName: (value) => `${value.environmentId}/${value.kind}/${value.name}/${value.version}`,
  indexes: { environment: (value) => value.environmentId },
});
