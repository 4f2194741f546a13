// Records of Teams and credentials.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import { hostPowerText } from '../../model/host-powers.ts';
import type { HostGrant, Team, Token } from '../../model/documents.ts';

export const teamRecords: Collection<Team> = defineCollection<Team>({ name: 'teams', uniqueName: (team) => team.name });
export const tokenRecords: Collection<Token> = defineCollection<Token>({ name: 'tokens', uniqueName: (token) => token.hash });
export const hostGrantRecords: Collection<HostGrant> = defineCollection<HostGrant>({
  name: 'host-grants',
  uniqueName: (grant) => `${grant.appId}/${grant.environment ?? '*'}/${hostPowerText(grant.power)}`,
  indexes: { app: (grant) => grant.appId },
});
