namespace Storage.Nbd;
