namespace Storage.Block;
