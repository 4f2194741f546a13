// Records of Teams and credentials.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { Team, Token } from '../../model/documents.ts';

export const teamRecords: Collection<Team> = defineCollection<Team>({ name: 'teams', uniqueName: (team) => team.name });
export const tokenRecords: Collection<Token> = defineCollection<Token>({ name: 'tokens', uniqueName: (token) => token.hash });
