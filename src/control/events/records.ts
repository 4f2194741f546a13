// Records of events; they die with their lease (invariant 12).

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { Event } from '../../model/documents.ts';

export const eventRecords: Collection<Event> = defineCollection<Event>({ name: 'events' });
