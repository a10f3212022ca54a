namespace Storage.Osd;
