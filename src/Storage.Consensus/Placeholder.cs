namespace Storage.Consensus;
