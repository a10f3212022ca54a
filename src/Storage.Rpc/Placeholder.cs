namespace Storage.Rpc;
