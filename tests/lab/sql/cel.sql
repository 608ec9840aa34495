-- Asterisk's table of channel events, with the columns and indexes of FreePBX's.
CREATE TABLE cel (
    id          INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    eventtype   VARCHAR(30) NOT NULL,
    eventtime   DATETIME NOT NULL,
    cid_name    VARCHAR(80) NOT NULL DEFAULT '',
    cid_num     VARCHAR(80) NOT NULL DEFAULT '',
    exten       VARCHAR(80) NOT NULL DEFAULT '',
    context     VARCHAR(80) NOT NULL DEFAULT '',
    channame    VARCHAR(80) NOT NULL DEFAULT '',
    appname     VARCHAR(80) NOT NULL DEFAULT '',
    uniqueid    VARCHAR(150) NOT NULL DEFAULT '',
    linkedid    VARCHAR(150) NOT NULL DEFAULT '',
    KEY uniqueid_index (uniqueid),
    KEY linkedid_index (linkedid)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
